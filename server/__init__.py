"""The map of the server: how a request flows, and what each file is for.

HTTP request -> request model -> messages to prompt -> context budget -> scheduler -> llama batch -> sampler
-> token stream -> reply or server-sent events. The first four happen in the launcher, the next four in the engine
process; :mod:`server.engine.client` stands between them.

controller.py          the one door for the window, the headless launcher and the routes: start, stop, look, ask
events.py              the dataclasses that cross threads and processes
snapshot.py            what the window and /health see
machine.py             what the whole PC is doing: processor, memory
embedding.py           the dataclasses of the embeddings model, which cross processes as well
settings.py            the one table of settings: name, default, limits, help
access.py              who may connect, as the settings name them
window_log.py          brings log lines to the window
model_host.py          the loaded model: its engine process, started again when it crashes
restarts.py            how often it may be
loading.py             what the engines are told to load
command_line.py        KoboldCpp's flags -> settings
kcpps.py               KoboldCpp's configuration files <-> settings
json_text.py           JSON that others wrote, read within bounds
admin.py               the models and configurations that clients may change to
clients.py             the programs that people connect, and a request as each makes it
whole_file.py          files that are written whole or not at all
web_pages.py           web pages from elsewhere that the user may allow
sampler_presets.py     sampler settings that are known to work
networks.py            the networks this PC is in, by names that people know
saves.py               stories that clients keep on the server
children.py            the processes that the launcher starts, in the packaged program as well
records.py             what a run leaves on disk: its log, a report of a crash
self_test.py           does this installation work? The launcher's --self-test
privacy.py             what of requests and replies may be logged
errors.py              the one error family: status, code, sentence, hint

api/                   routes and shapes, no logic
  http_server.py       waitress in a thread, every piece of a stream sent at once
  connections.py       its connections: who loses one because others want to get through
  manual/              every route in words, with an example
    route.py           what is told of a route
    fields.py          the fields of requests
    replies.py         replies and embeddings
    models.py          the model, and changing it
    services.py        all other routes
  openapi.py           the manual as OpenAPI, as a page, and as docs/api.md
  app.py               the Flask app: dialects, guard, dressing of errors
  addresses.py         any beginning before a route's own path
  guard.py             who may talk to the server: Host, Origin, address, key
  caller.py            who is calling, and what for: body, client name, connection
  sse.py               server-sent events: frames, and the loop from generation to frames
  refusal.py           errors in the shapes that clients read
  traffic.py           how many requests came to which route
  metrics.py           the server in numbers, for Prometheus
  health.py            whether anyone is there, and what the engine is doing
  kobold.py            replies in the KoboldAI and KoboldCpp dialect
  kobold_status.py     what that dialect tells of the server
  admin.py             KoboldCpp's admin routes: change the model, keep conversations
  openai.py            the OpenAI dialect
  choice.py            one choice of a reply in its words
  together.py          several replies to one request
  logprobs.py          probabilities in the shapes that clients read
  responses.py         OpenAI's Responses dialect
  anthropic.py         the Anthropic dialect
  blocks.py            a reply as thoughts, texts and calls, for dialects that word it so
  embeddings.py        texts to vectors, and texts in order of relevance
  ollama.py            the Ollama dialect
  ollama_models.py     the loaded models in Ollama's words
  tokens.py            text to tokens and back, schemas to grammars
  saves.py             stories that are kept on the server
  page.py              the chat page: the files of assets/page
  absent.py            what KoboldCpp has and this server has not
  prompt.py            which template is used and why, and the prompt it makes
  samplers.py          the sampler presets

request/               what is asked for
  text_request.py      what a generation request is, whichever dialect it came in
  fields.py            reading a body field by field, tolerant of null and odd types
  samplers.py          sampler settings under all their names
  unsupported.py       what is asked for and not there
  kobold.py            KoboldAI's JSON -> text request
  openai.py            OpenAI's JSON -> text request
  responses.py         OpenAI's Responses JSON -> text request
  anthropic.py         Anthropic's JSON -> text request
  ollama.py            Ollama's JSON -> text request
  embeddings.py        a request for embeddings
  tokens.py            a text, or a list of token ids
  placeholders.py      {{[INPUT]}} and the like -> the model's tags
  messages.py          OpenAI's messages and tools
  constraint.py        what a reply must look like: schemas, grammars, expressions
  schema.py            JSON schemas, checked
  thinking.py          what becomes of the model's thoughts
  budget.py            what of a prompt is left out when it does not fit the context
  prepare.py           text request -> the engine's command
  ledger.py            who asked for what: genkeys, abort, totals
  tally.py             replies counted by how they ended and how long they took

prompt/                messages -> prompt
  message.py           a chat and its parts
  templates.py         which template is used, and why
  preview.py           a chat as a model would read it that is not loaded yet
  preset.py            instruct presets: the text before and after each role's turn
  chat.py              a chat rendered, in an order of roles that the template takes
  jinja.py             chat templates, rendered in a process that is killed at a limit (runs in the launcher)
  jinja_worker.py      that process's main: Jinja's sandbox, locked away from files and connections
  tools.py             tools told to models whose template knows none, and the grammar of a call
  thinking.py          the tags models think between

reply/                 what a reply turns into
  tool_calls.py        what a model writes -> what it says, and its tool calls, while it streams
  parts.py             speech and calls, in pieces
  json_stream.py       text that comes in pieces, and the JSON in it
  arguments.py         arguments written otherwise -> JSON
  markers.py           the texts that frame tool calls

engine/                the engine process and the launcher's side of it
  client.py            starts the process, sends commands, hands out events (runs in the launcher)
  embedder.py          the embeddings model and its process (runs in the launcher)
  worker.py            the process's main: pipes, reader thread, loop
  engine.py            the step: schedule -> decode -> sample -> emit
  scheduler.py         who runs next, and how much of whom
  sequence.py          one generation: its tokens and its clock
  prefix_cache.py      slots and the tokens they hold, so that no prompt is read twice
  cells.py             which cells of the KV cache each slot holds
  ram_store.py         prompts that fell out of the KV cache
  kv_states.py         conversations on disk
  tokens.py            comparing lists of tokens
  batch.py             one llama.cpp batch being filled
  sampling.py          sampler settings -> llama.cpp's chain
  token_stream.py      token bytes -> text: whole characters, no stop strings, thoughts apart
  thinking.py          how long a reply may think, and the tokens that end its thinking
  marks.py             texts found in a text that grows
  banned_texts.py      texts a reply must not say: what may leave, how far it goes back
  formulas.py          samplers that llama.cpp has not, in numpy
  outbox.py            when events leave for the launcher
  drafts.py            drafts into the plan of a step, and what became of them
  speculation.py       tokens guessed ahead, and whether guessing pays
  draft_model.py       guesses from a second, smaller model
  neighbours.py        living beside a game: waiting, priority, number of threads
  stats.py             tokens per second
  self_test.py         does the freshly built library work here?
  devices.py           which devices does llama.cpp see? The main of a short process

engine/llama/          llama.cpp itself; the only imports of llama_cpp
  library.py           the native library: back ends, log
  back_ends.py         the files of its back ends, by their names
  params.py            our options -> llama.cpp's structs
  model.py             a loaded model and its context: decode, describe
  embeddings.py        an embeddings model: texts to vectors
  kv_cache.py          copy, cut, save and load what the slots hold
  vocabulary.py        text <-> tokens
  samplers.py          one request's sampler chain, and the draw
  candidates.py        the tokens that samplers choose from
  constraints.py       what a reply must look like, token by token
  schema_grammar.py    JSON schemas -> grammars
  gbnf.py              grammars that llama.cpp would hang on

model/
  gguf.py              what a GGUF file says of itself, checked before llama.cpp sees it
  gguf_header.py       one file's header: metadata, tensors, and what llama.cpp demands of them
  gguf_cursor.py       reads it with bounds
  gguf_sense.py        does it make sense as a whole?
  gguf_facts.py        facts of the format
  shape.py             what of a model takes memory, layer by layer
  fit.py               how much it takes, and how many layers fit a GPU
  devices.py           the devices, asked in a process of its own
  library.py           the models on this PC, and a forecast for each
  hub.py               models on Hugging Face: the catalogue, the search, what a repository holds
  downloads.py         models being fetched from there
"""

VERSION = "0.1.0"
