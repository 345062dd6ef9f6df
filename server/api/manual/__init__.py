"""Every route in words: what it is for, what it takes, and an example.

``/api/openapi.json``, ``/docs`` and docs/api.md are made from this by :mod:`server.api.openapi`; tests compare it with
the routes that there are, and call each example.
"""

from server.api.manual.models import ADMINISTRATION, MODELS
from server.api.manual.replies import EMBEDDINGS, REPLIES
from server.api.manual.services import KEPT, MISSING, PRESENCE, VOCABULARY

ROUTES = (*REPLIES, *MODELS, *PRESENCE, *VOCABULARY, *EMBEDDINGS, *KEPT, *MISSING, *ADMINISTRATION)
