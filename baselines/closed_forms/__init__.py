"""Closed-form solutions of the optimal execution literature, as benchmarks for policies and for the solver.

Each module holds one paper: a frozen dataclass with the paper's parameters and functions that compute its results, with
equation numbers, in the paper's convention. `EXAMPLE` is the paper's numerical example; where the paper prints none, its
docstring says so. `to_scenario` converts a model to a :class:`~hyperexec_env.market.scenario.Scenario` where the kernel can
represent it.

- :mod:`~hyperexec_env.baselines.closed_forms.almgren_chriss`: Almgren and Chriss (2000)
- :mod:`~hyperexec_env.baselines.closed_forms.almgren`: Almgren (2003), power-law cost
- :mod:`~hyperexec_env.baselines.closed_forms.schied_schoeneborn_tehranchi`: Schied, Schoeneborn and Tehranchi (2010), exponential
  utility
- :mod:`~hyperexec_env.baselines.closed_forms.obizhaeva_wang`: Obizhaeva and Wang (2013)
- :mod:`~hyperexec_env.baselines.closed_forms.bertsimas_lo`: Bertsimas and Lo (1998)
- :mod:`~hyperexec_env.baselines.closed_forms.gatheral_schied`: Gatheral and Schied (2011)
- :mod:`~hyperexec_env.baselines.closed_forms.kyle`: Kyle (1985)
"""
