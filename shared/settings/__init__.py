"""Settings of all three services: `load_settings()` returns one frozen `Settings`.

| module | what it does |
|---|---|
| `model` | every setting: its type, range, default and description |
| `field_types`, `addresses`, `model_prices`, `text` | types of values and their checks |
| `load`, `dotenv_file`, `near_misses` | reading of CONFIG_FILE, `.env` and environment |
| `explain` | sentences for bad values, masked values |
| `access_warning` | the warning where no key is required |

Not pydantic-settings: its sources parse values before we see them (lists as JSON, YAML by type) and read `os.environ`
only, so all three would be our own classes and only the merge of three dictionaries would go. It costs 4 MB a process.
"""

from shared.settings.access_warning import access_warning
from shared.settings.load import load_settings, variables
from shared.settings.model import Settings
from shared.settings.model_prices import prices_of

__all__ = ["Settings", "access_warning", "load_settings", "prices_of", "variables"]
