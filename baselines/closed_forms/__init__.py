"""The closed forms of the literature, each with its paper and equation, in the paper's convention and in the kernel's.

A paper is a frozen record of its parameters and functions that lead from the record to its results. `EXAMPLE` in a module is
the paper's own numerical example. Where a model fits the market of the kernel, `to_scenario` writes it as a scenario.

- :mod:`~hyperexec_env.baselines.closed_forms.almgren_chriss`: Almgren and Chriss (2000); the power-law cost of Almgren (2003)
- :mod:`~hyperexec_env.baselines.closed_forms.obizhaeva_wang`: Obizhaeva and Wang (2013)
- :mod:`~hyperexec_env.baselines.closed_forms.bertsimas_lo`: Bertsimas and Lo (1998)
- :mod:`~hyperexec_env.baselines.closed_forms.gatheral_schied`: Gatheral and Schied (2011)
- :mod:`~hyperexec_env.baselines.closed_forms.kyle`: Kyle (1985)
"""
