"""Recipes as YAML files, one a shipped training; ``synfire.training.list_recipes()`` names them."""
