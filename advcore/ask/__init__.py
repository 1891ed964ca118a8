"""Asking any model: one client with a journal, a rate limiter and a budget, over several transports.

Reading order: `client` -> `journal`, `limiter`, `budget` -> `transports` -> `prices`, `providers`, `errors`. LiteLLM is
loaded by the first request to a provider that needs it, and by nothing else.
"""

from advcore.ask.budget import Budget, BudgetExhausted
from advcore.ask.client import Answer, Client, ReplyError, Usage, note, together
from advcore.ask.config import ModelConfig
from advcore.ask.journal import Journal, JournalReader
from advcore.ask.limiter import LimiterStopped
from advcore.ask.prices import estimate
from advcore.ask.transports import check_model

__all__ = [
    "Answer",
    "Budget",
    "BudgetExhausted",
    "Client",
    "Journal",
    "JournalReader",
    "LimiterStopped",
    "ModelConfig",
    "ReplyError",
    "Usage",
    "check_model",
    "estimate",
    "note",
    "together",
]  # fmt: skip
