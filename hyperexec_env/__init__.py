"""HyperExec: optimal execution as a Gymnasium environment, with baselines, the exact optimum, training and a leaderboard.

    import hyperexec_env as hx

    env = hx.make("regime-day")  # or gymnasium.make("HyperExec-v0", scenario="regime-day")
    print(hx.evaluate("regime-day", ["TWAP", "POV"], episodes=1000))

`dir(hx)` lists the public API. A name is imported when it is first used, so that ``import hyperexec_env`` stays as light as
``import gymnasium``. Every function that takes a scenario takes a name, a dict, a path of a TOML file or a `Scenario`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

if sys.platform == "emscripten":  # a browser has no processes, and gymnasium imports their semaphores for AsyncVectorEnv
    sys.modules.setdefault("_multiprocessing", _semaphores := ModuleType("_multiprocessing"))
    vars(_semaphores).update(SemLock=type("SemLock", (), {"SEM_VALUE_MAX": 1}), sem_unlink=None)

if find_spec("hyperexec_env.baselines") is None:  # not installed: Python runs in a checkout, where `baselines` lies beside
    __path__.append(str(Path(__file__).resolve().parent.parent))

from gymnasium.envs.registration import make as _make
from gymnasium.envs.registration import make_vec as _make_vec
from gymnasium.envs.registration import register, registry

from hyperexec_env.version import __version__

if TYPE_CHECKING:
    from gymnasium import Env
    from gymnasium.vector import VectorEnv

    from hyperexec_env.audit.adapter import Adapter as Adapter
    from hyperexec_env.audit.data import audit_data as audit_data
    from hyperexec_env.audit.environment import audit_env as audit_env
    from hyperexec_env.audit.findings import Audit as Audit
    from hyperexec_env.audit.policy import audit_policy as audit_policy
    from hyperexec_env.audit.results import audit_results as audit_results
    from hyperexec_env.baselines.basket_estimate import estimate_basket as estimate_basket
    from hyperexec_env.baselines.blotter import tca_blotter as tca_blotter
    from hyperexec_env.baselines.blotter_report import BlotterReport as BlotterReport
    from hyperexec_env.baselines.distribution import MarketDistribution as MarketDistribution
    from hyperexec_env.baselines.distribution import get_distribution as get_distribution
    from hyperexec_env.baselines.estimate import estimate as estimate
    from hyperexec_env.baselines.evaluate import entrants as entrants
    from hyperexec_env.baselines.evaluate import known_optimum as known_optimum
    from hyperexec_env.baselines.frontier import frontier as frontier
    from hyperexec_env.baselines.kinds import card as card
    from hyperexec_env.baselines.kinds import certify as certify
    from hyperexec_env.baselines.kinds import evaluate as evaluate
    from hyperexec_env.baselines.learn import learn as learn
    from hyperexec_env.baselines.measure import measure as measure
    from hyperexec_env.baselines.onnx_file import save_onnx as save_onnx
    from hyperexec_env.baselines.policies import get_policy as get_policy
    from hyperexec_env.baselines.policies import policy_names as policy_names
    from hyperexec_env.baselines.realism import realism as realism
    from hyperexec_env.baselines.replay import replay as replay
    from hyperexec_env.baselines.solver import BasketSolution as BasketSolution
    from hyperexec_env.baselines.solver import Solution as Solution
    from hyperexec_env.baselines.solver import SolutionInterval as SolutionInterval
    from hyperexec_env.baselines.solver import TouchSolution as TouchSolution
    from hyperexec_env.baselines.solver import VenueSolution as VenueSolution
    from hyperexec_env.baselines.solver import recalibrate as recalibrate
    from hyperexec_env.baselines.solver import schedule_bps as schedule_bps
    from hyperexec_env.baselines.solver import solve as solve
    from hyperexec_env.baselines.solver import solve_interval as solve_interval
    from hyperexec_env.baselines.solver.dual import HiddenBracket as HiddenBracket
    from hyperexec_env.baselines.solver.dual import bracket_hidden as bracket_hidden
    from hyperexec_env.baselines.touch_board import evaluate_touch as evaluate_touch
    from hyperexec_env.baselines.touch_desk import touch_tactic as touch_tactic
    from hyperexec_env.baselines.touch_desk import touch_venues as touch_venues
    from hyperexec_env.baselines.trace import trace as trace
    from hyperexec_env.baselines.venue_board import evaluate_venues as evaluate_venues
    from hyperexec_env.data.basket_calibration import BasketCalibration as BasketCalibration
    from hyperexec_env.data.basket_calibration import calibrate_basket as calibrate_basket
    from hyperexec_env.data.basket_measurement import BasketMeasurement as BasketMeasurement
    from hyperexec_env.data.basket_measurement import measure_basket as measure_basket
    from hyperexec_env.data.blotter import read_blotter as read_blotter
    from hyperexec_env.data.calibration import calibrate as calibrate
    from hyperexec_env.data.format import Format as Format
    from hyperexec_env.data.inspection import inspect_data as inspect_data
    from hyperexec_env.data.reader import read_bars as read_bars
    from hyperexec_env.data.reader import read_book as read_book
    from hyperexec_env.data.reader import read_quotes as read_quotes
    from hyperexec_env.data.reader import read_trades as read_trades
    from hyperexec_env.data.replay import read_replay as read_replay
    from hyperexec_env.data.sessions import read_sessions as read_sessions
    from hyperexec_env.envs.action import OwnAction as OwnAction
    from hyperexec_env.envs.features import Feature as Feature
    from hyperexec_env.envs.features import observation_names as observation_names
    from hyperexec_env.envs.reward import Outcome as Outcome
    from hyperexec_env.envs.single import HyperExecEnv as HyperExecEnv
    from hyperexec_env.envs.situation import Situation as Situation
    from hyperexec_env.envs.vector import HyperExecVectorEnv as HyperExecVectorEnv
    from hyperexec_env.evaluation.basket_certificate import certify_basket as certify_basket
    from hyperexec_env.evaluation.board import Board as Board
    from hyperexec_env.evaluation.board import Entrant as Entrant
    from hyperexec_env.evaluation.certificate import Certificate as Certificate
    from hyperexec_env.evaluation.certificate import certify_model as certify_model
    from hyperexec_env.evaluation.certificate import check_impact_model as check_impact_model
    from hyperexec_env.evaluation.certificate import check_scenario as check_scenario
    from hyperexec_env.evaluation.network import NetworkPolicy as NetworkPolicy
    from hyperexec_env.evaluation.network import load_policy as load_policy
    from hyperexec_env.evaluation.network import save_policy as save_policy
    from hyperexec_env.evaluation.observation import ObservationPolicy as ObservationPolicy
    from hyperexec_env.evaluation.optimum import Optimum as Optimum
    from hyperexec_env.evaluation.policy import Policy as Policy
    from hyperexec_env.evaluation.policy import check_policy as check_policy
    from hyperexec_env.evaluation.rule import Rule as Rule
    from hyperexec_env.evaluation.rule import RulePolicy as RulePolicy
    from hyperexec_env.evaluation.store import Store as Store
    from hyperexec_env.evaluation.submission import load_submission as load_submission
    from hyperexec_env.evaluation.touch_certificate import certify_touch as certify_touch
    from hyperexec_env.evaluation.trace import Trace as Trace
    from hyperexec_env.evaluation.venue_certificate import certify_venues as certify_venues
    from hyperexec_env.execution.agent import ExecutionAgent as ExecutionAgent
    from hyperexec_env.execution.basket_order import BasketOrder as BasketOrder
    from hyperexec_env.execution.basket_report import BasketReport as BasketReport
    from hyperexec_env.execution.config import ExecutionConfig as ExecutionConfig
    from hyperexec_env.execution.estimates import estimate_impact as estimate_impact
    from hyperexec_env.execution.estimates import estimate_schedule as estimate_schedule
    from hyperexec_env.execution.estimates import planned_shares as planned_shares
    from hyperexec_env.execution.fill_rates import FillRates as FillRates
    from hyperexec_env.execution.fill_rates import KaplanMeier as KaplanMeier
    from hyperexec_env.execution.fill_rates import product_limit as product_limit
    from hyperexec_env.execution.online import OnlineEstimates as OnlineEstimates
    from hyperexec_env.execution.presets import almgren_2005 as almgren_2005
    from hyperexec_env.execution.presets import preset as preset
    from hyperexec_env.execution.quotes import Quote as Quote
    from hyperexec_env.execution.quotes import VenueQuote as VenueQuote
    from hyperexec_env.execution.report import ExecutionReport as ExecutionReport
    from hyperexec_env.execution.tactics import Placement as Placement
    from hyperexec_env.execution.venue_order import VenueOrder as VenueOrder
    from hyperexec_env.market.basket_scenario import BasketScenario as BasketScenario
    from hyperexec_env.market.basket_scenario import basket_names as basket_names
    from hyperexec_env.market.basket_scenario import get_basket as get_basket
    from hyperexec_env.market.basket_scenario import register_basket as register_basket
    from hyperexec_env.market.posterior import Posterior as Posterior
    from hyperexec_env.market.recording import Recording as Recording
    from hyperexec_env.market.regime import Regimes as Regimes
    from hyperexec_env.market.scenario import Scenario as Scenario
    from hyperexec_env.market.scenario import ScenarioLike as ScenarioLike
    from hyperexec_env.market.scenario import register_scenario as register_scenario
    from hyperexec_env.market.scenario import scenario_names as scenario_names
    from hyperexec_env.market.scenarios import get_scenario as get_scenario
    from hyperexec_env.market.touch_scenario import TouchScenario as TouchScenario
    from hyperexec_env.market.touch_scenario import get_touch as get_touch
    from hyperexec_env.market.touch_scenario import register_touch as register_touch
    from hyperexec_env.market.touch_scenario import touch_names as touch_names
    from hyperexec_env.market.venue import Venue as Venue
    from hyperexec_env.market.venue_scenario import VenueScenario as VenueScenario
    from hyperexec_env.market.venue_scenario import get_venues as get_venues
    from hyperexec_env.market.venue_scenario import register_venues as register_venues
    from hyperexec_env.market.venue_scenario import venue_names as venue_names
    from hyperexec_env.orders import ChildOrder as ChildOrder
    from hyperexec_env.orders import Fill as Fill
    from hyperexec_env.orders import ParentOrder as ParentOrder
    from hyperexec_env.sharing.runs import make_bundle as make_bundle
    from hyperexec_env.sharing.site import make_site as make_site
    from hyperexec_env.sharing.submit import pack_folder as pack_folder
    from hyperexec_env.sharing.verification import verify_file as verify_file
    from hyperexec_env.training.leaderboard import leaderboard as leaderboard

_MODULES: Final = {
    "Adapter": "audit.adapter",
    "Audit": "audit.findings",
    "BasketCalibration": "data.basket_calibration",
    "BasketMeasurement": "data.basket_measurement",
    "BasketOrder": "execution.basket_order",
    "BasketReport": "execution.basket_report",
    "BasketScenario": "market.basket_scenario",
    "BasketSolution": "baselines.solver",
    "BlotterReport": "baselines.blotter_report",
    "Board": "evaluation.board",
    "Certificate": "evaluation.certificate",
    "ChildOrder": "orders",
    "Entrant": "evaluation.board",
    "ExecutionAgent": "execution.agent",
    "ExecutionConfig": "execution.config",
    "ExecutionReport": "execution.report",
    "Feature": "envs.features",
    "Fill": "orders",
    "FillRates": "execution.fill_rates",
    "Format": "data.format",
    "HiddenBracket": "baselines.solver.dual",
    "HyperExecEnv": "envs.single",
    "HyperExecVectorEnv": "envs.vector",
    "KaplanMeier": "execution.fill_rates",
    "MarketDistribution": "baselines.distribution",
    "NetworkPolicy": "evaluation.network",
    "ObservationPolicy": "evaluation.observation",
    "OnlineEstimates": "execution.online",
    "Optimum": "evaluation.optimum",
    "Outcome": "envs.reward",
    "OwnAction": "envs.action",
    "ParentOrder": "orders",
    "Placement": "execution.tactics",
    "Policy": "evaluation.policy",
    "Posterior": "market.posterior",
    "Quote": "execution.quotes",
    "Recording": "market.recording",
    "Regimes": "market.regime",
    "Rule": "evaluation.rule",
    "RulePolicy": "evaluation.rule",
    "Scenario": "market.scenario",
    "ScenarioLike": "market.scenario",
    "Situation": "envs.situation",
    "Solution": "baselines.solver",
    "SolutionInterval": "baselines.solver",
    "Store": "evaluation.store",
    "TouchScenario": "market.touch_scenario",
    "TouchSolution": "baselines.solver",
    "Trace": "evaluation.trace",
    "Venue": "market.venue",
    "VenueOrder": "execution.venue_order",
    "VenueQuote": "execution.quotes",
    "VenueScenario": "market.venue_scenario",
    "VenueSolution": "baselines.solver",
    "almgren_2005": "execution.presets",
    "audit_data": "audit.data",
    "audit_env": "audit.environment",
    "audit_policy": "audit.policy",
    "audit_results": "audit.results",
    "basket_names": "market.basket_scenario",
    "bracket_hidden": "baselines.solver.dual",
    "calibrate": "data.calibration",
    "calibrate_basket": "data.basket_calibration",
    "card": "baselines.kinds",
    "certify_basket": "evaluation.basket_certificate",
    "certify": "baselines.kinds",
    "certify_model": "evaluation.certificate",
    "certify_touch": "evaluation.touch_certificate",
    "certify_venues": "evaluation.venue_certificate",
    "check_impact_model": "evaluation.certificate",
    "check_policy": "evaluation.policy",
    "check_scenario": "evaluation.certificate",
    "entrants": "baselines.evaluate",
    "estimate": "baselines.estimate",
    "estimate_basket": "baselines.basket_estimate",
    "estimate_impact": "execution.estimates",
    "estimate_schedule": "execution.estimates",
    "evaluate": "baselines.kinds",
    "evaluate_touch": "baselines.touch_board",
    "evaluate_venues": "baselines.venue_board",
    "frontier": "baselines.frontier",
    "get_basket": "market.basket_scenario",
    "get_distribution": "baselines.distribution",
    "get_policy": "baselines.policies",
    "get_scenario": "market.scenarios",
    "get_venues": "market.venue_scenario",
    "inspect_data": "data.inspection",
    "get_touch": "market.touch_scenario",
    "known_optimum": "baselines.evaluate",
    "leaderboard": "training.leaderboard",
    "learn": "baselines.learn",
    "load_policy": "evaluation.network",
    "load_submission": "evaluation.submission",
    "make_bundle": "sharing.runs",
    "make_site": "sharing.site",
    "measure": "baselines.measure",
    "measure_basket": "data.basket_measurement",
    "observation_names": "envs.features",
    "pack_folder": "sharing.submit",
    "planned_shares": "execution.estimates",
    "policy_names": "baselines.policies",
    "preset": "execution.presets",
    "product_limit": "execution.fill_rates",
    "read_bars": "data.reader",
    "read_blotter": "data.blotter",
    "read_book": "data.reader",
    "read_quotes": "data.reader",
    "read_replay": "data.replay",
    "read_sessions": "data.sessions",
    "read_trades": "data.reader",
    "realism": "baselines.realism",
    "recalibrate": "baselines.solver",
    "register_basket": "market.basket_scenario",
    "register_scenario": "market.scenario",
    "register_venues": "market.venue_scenario",
    "replay": "baselines.replay",
    "register_touch": "market.touch_scenario",
    "save_onnx": "baselines.onnx_file",
    "save_policy": "evaluation.network",
    "scenario_names": "market.scenario",
    "schedule_bps": "baselines.solver",
    "solve": "baselines.solver",
    "solve_interval": "baselines.solver",
    "tca_blotter": "baselines.blotter",
    "touch_names": "market.touch_scenario",
    "touch_tactic": "baselines.touch_desk",
    "touch_venues": "baselines.touch_desk",
    "trace": "baselines.trace",
    "venue_names": "market.venue_scenario",
    "verify_file": "sharing.verification",
}
"""Name of the public API and the module that it is imported from when it is first used."""

__all__ = ["__version__", "make", "make_vec", *_MODULES]


def __getattr__(name: str) -> Any:
    """Import a name of the public API."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    globals()[name] = value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    """Return the names of the public API too, whether they are imported or not."""
    return sorted({*globals(), *__all__})


def make(scenario: ScenarioLike | None = None, **options: Any) -> Env[Any, Any]:
    """Make the environment: ``gymnasium.make("HyperExec-v0", scenario=scenario, **options)``.

    A basket makes ``HyperExecBasket-v0`` (:class:`~hyperexec_env.envs.basket.HyperExecBasketEnv` has its options), a touch
    scenario ``HyperExecTouch-v0`` (:class:`~hyperexec_env.envs.touch.HyperExecTouchEnv`).

    Args:
        scenario: A name, a dict, a path of a TOML file, a `Scenario`, a `BasketScenario` or a `TouchScenario`; None:
            regime-day, or the market of the `replay`.
        options: Arguments of :class:`~hyperexec_env.envs.single.HyperExecEnv` (`action_mode`, `reward`, `observe_regime`,
            `replay`, `render_mode`, ...) and of `gymnasium.make`.
    """
    return _make(_id_of(scenario), scenario=scenario, **options)


def make_vec(scenario: ScenarioLike | None = None, num_envs: int = 1, **options: Any) -> VectorEnv[Any, Any, Any]:
    """Make a batch of environments: ``gymnasium.make_vec("HyperExec-v0", num_envs, scenario=scenario, **options)``.

    A basket makes ``HyperExecBasket-v0`` (:class:`~hyperexec_env.envs.basket_vector.HyperExecBasketVectorEnv`), a touch
    scenario ``HyperExecTouch-v0`` (:class:`~hyperexec_env.envs.touch_vector.HyperExecTouchVectorEnv`).

    Args:
        scenario: A name, a dict, a path of a TOML file, a `Scenario`, a `BasketScenario` or a `TouchScenario`; None:
            regime-day, or the market of the `replay`.
        num_envs: Number of environments.
        options: Arguments of :class:`~hyperexec_env.envs.vector.HyperExecVectorEnv` (`backend`, `num_threads`, `copy`,
            `action_mode`, ...) and of `gymnasium.make_vec`.
    """
    return _make_vec(_id_of(scenario), num_envs, scenario=scenario, **options)


def _id_of(scenario: Any) -> str:
    """Return the id of the environment that executes a scenario."""
    if scenario is None:
        return "HyperExec-v0"
    name: str = import_module(f"{__name__}.market.scenarios").environment_of(scenario)
    return name


_ENVIRONMENTS: Final = {
    "HyperExec": ("single:HyperExecEnv", "vector:HyperExecVectorEnv"),
    "HyperExecBasket": ("basket:HyperExecBasketEnv", "basket_vector:HyperExecBasketVectorEnv"),
    "HyperExecTouch": ("touch:HyperExecTouchEnv", "touch_vector:HyperExecTouchVectorEnv"),
    "HyperExecVenues": ("venues:HyperExecVenuesEnv", "venues_vector:HyperExecVenuesVectorEnv"),
}
"""Name of each environment, and the classes of the single and of the vector environment."""

for _name, (_single, _vector) in _ENVIRONMENTS.items():
    if f"{_name}-v0" not in registry:
        register(
            id=f"{_name}-v0",
            entry_point=f"{__name__}.envs.{_single}",
            vector_entry_point=f"{__name__}.envs.{_vector}",
            # the horizon is part of the problem (no time limit), and the environments check order and actions by themselves
            disable_env_checker=True,
            order_enforce=False,
        )
