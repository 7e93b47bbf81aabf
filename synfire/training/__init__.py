"""Training by recipe, evaluation and the spike budget.

``load_recipe`` and ``fit`` train; ``evaluate`` scores. Lightning and jsonargparse are imported when
they are needed and come with ``synfire[train]``.
"""

from synfire.training.budget import OperationMeter, SpikeBudget
from synfire.training.evaluation import Evaluation, evaluate
from synfire.training.fitting import Trained, build_net, fit, load_trained
from synfire.training.initialisation import TakenOver, init_from
from synfire.training.metering import operation_meter
from synfire.training.optimisers import Optimiser, Schedule
from synfire.training.recipe import Baselines, Model, Recipe, Train, list_recipes, load_recipe
from synfire.training.tasks import load_task, tasks

__all__ = [
    "Baselines",
    "Evaluation",
    "Model",
    "OperationMeter",
    "Optimiser",
    "Recipe",
    "Schedule",
    "SpikeBudget",
    "TakenOver",
    "Train",
    "Trained",
    "build_net",
    "evaluate",
    "fit",
    "init_from",
    "list_recipes",
    "load_recipe",
    "load_task",
    "load_trained",
    "operation_meter",
    "tasks",
]
