"""MODELS_FILE: upstreams, their models with prices and capabilities, and policies by name, in one YAML file.

| module | what it does |
|---|---|
| `schema` | every section and field: its type, range and default |
| `yaml_text` | YAML to nested text, with the line of each value, and `${VARIABLE}` replaced |
| `load` | reading and validation of a file; what the settings say without one |
| `masked` | the file for `--check-config` |
| `watch` | reading again when the file has changed |
| `places` | which upstream serves an arm, and under which name |
"""

from shared.models_file.load import load_models_file, models_of
from shared.models_file.places import Place
from shared.models_file.schema import ListedModel, ModelsFile, Policy, Upstream

__all__ = ["ListedModel", "ModelsFile", "Place", "Policy", "Upstream", "load_models_file", "models_of"]
