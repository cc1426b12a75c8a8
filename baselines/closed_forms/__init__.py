"""Closed-form solutions of the optimal execution literature, as benchmarks for policies and for the solver.

Each module holds one paper: a frozen dataclass with the paper's parameters and functions that compute its results, with
equation numbers, in the paper's convention. `EXAMPLE` is the paper's numerical example; where the paper prints none, its
docstring says so. `to_scenario` converts a model to a :class:`~hyperexec_env.market.scenario.Scenario`; where the kernel
cannot represent the model, it raises an error with the reason.

- `almgren_chriss`: Almgren and Chriss (2000)
- `almgren_chriss_shift`: Almgren and Chriss (2000), section 4.3, a shift of the parameters
- `almgren`: Almgren (2003), power-law cost
- `schied_schoeneborn_tehranchi`: Schied, Schoeneborn and Tehranchi (2010), exponential utility
- `cartea_jaimungal`: Cartea, Jaimungal and Penalva (2015), finite terminal penalty
- `obizhaeva_wang`: Obizhaeva and Wang (2013)
- `bertsimas_lo`: Bertsimas and Lo (1998)
- `bertsimas_lo_percentage`: Bertsimas and Lo (1998), section 3, linear-percentage law of motion
- `gatheral_schied`: Gatheral and Schied (2011)
- `gatheral_schied_slynko`: Gatheral, Schied and Slynko (2012), power-law decay of the impact
- `kyle`: Kyle (1985)
- `gueant_lehalle_fernandez_tapia`: Gueant, Lehalle and Fernandez-Tapia (2012), the depth of a limit order
- `cont_kukanov`: Cont and Kukanov (2017), a split between a market and a limit order
- `basket`: Almgren and Chriss (2000) and Obizhaeva and Wang (2013) with matrices, for several assets
"""
