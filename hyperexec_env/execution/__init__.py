"""The classical desk: schedules and algorithms, order hiding, the execution agent, estimates and reports."""

from hyperexec_env.execution.agent import ExecutionAgent
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.estimates import MarketImpactEstimate, estimate_impact, estimate_schedule
from hyperexec_env.execution.quotes import Portfolio, Quote
from hyperexec_env.execution.report import ExecutionReport
from hyperexec_env.execution.status import AgentStatus
from hyperexec_env.orders import ChildOrder, Fill, ParentOrder

__all__ = [
    "AgentStatus",
    "ChildOrder",
    "ExecutionAgent",
    "ExecutionConfig",
    "ExecutionReport",
    "Fill",
    "MarketImpactEstimate",
    "ParentOrder",
    "Portfolio",
    "Quote",
    "estimate_impact",
    "estimate_schedule",
]
