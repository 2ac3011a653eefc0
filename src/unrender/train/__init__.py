"""Training: one readable loop, one typed recipe per paper.

The names below are imported when first used. Each recipe has presets by name: `E2E_RECIPES["mini"]`.
"""

from typing import TYPE_CHECKING

from unrender.lazy import lazy_names

if TYPE_CHECKING:
    from unrender.train.captioned import CaptionedStills as CaptionedStills
    from unrender.train.captioned import load_captioned as load_captioned
    from unrender.train.data import Batch as Batch
    from unrender.train.data import StillDataset as StillDataset
    from unrender.train.data import join as join
    from unrender.train.data import lit_frames as lit_frames
    from unrender.train.data import load_lit_still_dataset as load_lit_still_dataset
    from unrender.train.data import load_still_dataset as load_still_dataset
    from unrender.train.datasets import load_dataset as load_dataset
    from unrender.train.e2e import E2ERecipe as E2ERecipe
    from unrender.train.e2e import train_e2e as train_e2e
    from unrender.train.labelling import LabelRecipe as LabelRecipe
    from unrender.train.labelling import LabelReport as LabelReport
    from unrender.train.labelling import label_footage as label_footage
    from unrender.train.loop import BatchSpec as BatchSpec
    from unrender.train.loop import Task as Task
    from unrender.train.model_task import ModelTask as ModelTask
    from unrender.train.ouroboros import OuroborosRecipe as OuroborosRecipe
    from unrender.train.ouroboros import train_ouroboros as train_ouroboros
    from unrender.train.personalise import PersonaliseRecipe as PersonaliseRecipe
    from unrender.train.personalise import personalised as personalised
    from unrender.train.pretrain import PretrainRecipe as PretrainRecipe
    from unrender.train.recipe import Stage as Stage
    from unrender.train.recipe import TrainConfig as TrainConfig
    from unrender.train.run_folder import RunFolder as RunFolder
    from unrender.train.start import Start as Start
    from unrender.train.text_to_image import TextToImageRecipe as TextToImageRecipe
    from unrender.train.text_to_image import train_text_to_image as train_text_to_image
    from unrender.train.vae import VaeRecipe as VaeRecipe
    from unrender.train.vae import train_vae as train_vae
    from unrender.train.view_sets import TrainingViews as TrainingViews
    from unrender.train.viewdiff import ViewDiffRecipe as ViewDiffRecipe
    from unrender.train.viewdiff import train_viewdiff as train_viewdiff

_HOMES = {
    "captioned": ("CaptionedStills", "load_captioned"),
    "data": ("Batch", "StillDataset", "join", "lit_frames", "load_lit_still_dataset", "load_still_dataset"),
    "datasets": ("load_dataset",),
    "e2e": ("E2ERecipe", "RECIPES as E2E_RECIPES", "train_e2e"),
    "labelling": ("LabelRecipe", "LabelReport", "label_footage"),
    "loop": ("BatchSpec", "Task", "run as run_task"),
    "model_task": ("ModelTask",),
    "ouroboros": ("OuroborosRecipe", "RECIPES as OUROBOROS_RECIPES", "train_ouroboros"),
    "personalise": (
        "PersonaliseRecipe",
        "RECIPES as PERSONALISE_RECIPES",
        "personalise as train_personalise",
        "personalised",
        "recipe_for as personalise_recipe",
    ),
    "pretrain": ("PretrainRecipe", "RECIPES as PRETRAIN_RECIPES", "pretrain as train_pretrain"),
    "recipe": ("Stage", "TrainConfig"),
    "run_folder": ("RunFolder",),
    "start": ("Start",),
    "text_to_image": ("RECIPES as TEXT_TO_IMAGE_RECIPES", "TextToImageRecipe", "train_text_to_image"),
    "vae": ("RECIPES as VAE_RECIPES", "VaeRecipe", "train_vae"),
    "view_sets": ("TrainingViews", "captured_views", "synthetic_views"),
    "viewdiff": ("RECIPES as VIEWDIFF_RECIPES", "ViewDiffRecipe", "train_viewdiff"),
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
