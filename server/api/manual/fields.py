"""The fields that requests have."""

from __future__ import annotations

from collections.abc import Mapping

from server.api.manual.route import Field

SAMPLING: Mapping[str, Field] = {
    "temperature": ("number", "0 always takes the likeliest token; 0.75 by default"),
    "top_k": ("integer", "keep that many tokens; 0 keeps all"),
    "top_p": ("number", "keep the likeliest tokens with that probability together"),
    "min_p": ("number", "drop tokens less likely than this share of the likeliest"),
    "top_a": ("number", "drop tokens below this times the square of the largest probability"),
    "typical": ("number", "keep tokens whose surprise is typical"),
    "tfs": ("number", "tail-free sampling"),
    "nsigma": ("number", "keep logits within so many standard deviations of the largest"),
    "rep_pen": ("number", "repetition penalty; 1 is none"),
    "rep_pen_range": ("integer", "tokens that the penalties look back"),
    "rep_pen_slope": ("number", "how much of it older tokens get"),
    "presence_penalty": ("number", "subtracted from logits of tokens that occurred"),
    "frequency_penalty": ("number", "subtracted for each time a token occurred"),
    "mirostat": ("integer", "1 or 2 switches it on; with mirostat_tau and mirostat_eta"),
    "mirostat_tau": ("number", "the surprise mirostat aims at"),
    "mirostat_eta": ("number", "how fast mirostat learns"),
    "dynatemp_range": ("number", "how far the temperature moves with the entropy"),
    "dynatemp_exponent": ("number", "how it follows the entropy"),
    "smoothing_factor": ("number", "quadratic smoothing of logits"),
    "smoothing_curve": ("number", "its curve"),
    "dry_multiplier": ("number", "DRY: penalty for repeating sequences; 0 is off"),
    "dry_base": ("number", "its base"),
    "dry_allowed_length": ("integer", "repeats up to this length are free"),
    "dry_penalty_last_n": ("integer", "tokens it looks back; 0 is all"),
    "dry_sequence_breakers": ("any", "texts it does not look across, as a list or the JSON text of one"),
    "xtc_threshold": ("number", "XTC: tokens at least so likely may be dropped"),
    "xtc_probability": ("number", "how often; 0 is off"),
    "adaptive_target": ("number", "adaptive-p: the probability aimed at; below 0 is off"),
    "adaptive_decay": ("number", "how long it remembers"),
    "sampler_order": ("list", "the order of samplers, as KoboldCpp numbers them"),
    "logit_bias": ("object", "added to the logits of token ids, -100 to 100"),
    "custom_token_bans": ("text", "token ids that are never drawn, with commas between them"),
    "guidance_scale": ("number", "how strongly to stay away from negative_prompt; 1 is not at all"),
    "negative_prompt": ("text", "what to stay away from"),
}
ENDING: Mapping[str, Field] = {
    "ban_eos_token": ("flag", "the model may not end its reply by itself"),
    "bypass_eos": ("flag", "the reply goes on behind the model's end"),
    "min_tokens": ("integer", "the model may not end its reply before"),
    "banned_tokens": ("texts", "texts that the reply never says, in upper or lower case; also banned_strings"),
    "render_special": ("flag", "write special tokens out"),
    "truncate": ("flag", "false refuses a prompt that is too long instead of shortening it"),
    "genkey": ("text", "a name for this reply, to stop it or look at it"),
    "thinking": ("any", "show, hide or off"),
    "thinking_budget": ("integer", "tokens the model may think; -1 is any number"),
}
SHAPING: Mapping[str, Field] = {
    "grammar": ("text", "a GBNF grammar, or the text of a JSON schema, that the reply follows"),
    "json_schema": ("any", "a JSON schema that the reply follows"),
    "regex": ("text", "an expression that the whole reply matches"),
}
PROMPT: Mapping[str, Field] = {
    "prompt": ("text", "the text to continue"),
    "memory": ("text", "stands before the prompt, and is never cut off"),
    "replace_instruct_placeholders": ("flag", "{{[INPUT]}} and the like become the model's tags; on by default"),
}
KOBOLD: Mapping[str, Field] = {
    **PROMPT,
    "max_length": ("integer", "tokens of the reply at most"),
    "max_context_length": ("integer", "tokens of prompt and reply together at most"),
    "stop_sequence": ("texts", "texts that end the reply"),
    "trim_stop": ("flag", "false leaves the stop text in the reply"),
    "sampler_seed": ("integer", "the same seed gives mostly the same reply, see docs/samplers.md; below 0 is random"),
    "logprobs": ("flag", "tell the probability of each token"),
    **SHAPING,
    **ENDING,
    **SAMPLING,
}
OPENAI: Mapping[str, Field] = {
    "model": ("text", "any name; the loaded model answers, or, with --loadonrequest, the one that is named"),
    "max_tokens": ("integer", "tokens of the reply at most; also max_completion_tokens"),
    "n": ("integer", "how many replies are wanted, up to 128"),
    "stop": ("texts", "a text or a list of texts that end the reply"),
    "seed": ("integer", "the same seed gives mostly the same reply, see docs/samplers.md"),
    "stream": ("flag", "send the reply in pieces while it is written"),
    "stream_options": ("object", "include_usage sends the counts of tokens at the end of a stream"),
    "response_format": ("object", "json_object, or json_schema with a schema"),
    **SHAPING,
    **ENDING,
    **SAMPLING,
}
CHAT: Mapping[str, Field] = {
    "messages": ("list", "the chat, each with a role and a content"),
    "tools": ("list", "functions that the model may call"),
    "tool_choice": ("any", "auto, none, required, or one function"),
    "parallel_tool_calls": ("flag", "false allows one call"),
    "logprobs": ("flag", "tell the probability of each token"),
    "top_logprobs": ("integer", "and of as many that were likeliest"),
    "adapter": ("object", "a template for this chat, by KoboldCpp's keys"),
    "chat_template_kwargs": ("object", "variables of the chat template"),
    "continue_assistant_turn": ("flag", "false begins a new turn behind an assistant's last one"),
    **OPENAI,
}
RESPONSES: Mapping[str, Field] = {
    "input": ("any", "a text, or a list of messages, calls of functions (function_call) and their outputs"),
    "instructions": ("text", "how the model should behave"),
    "max_output_tokens": ("integer", "tokens of the reply at most"),
    "text": ("object", "format: json_object, or json_schema with a schema"),
    "tools": ("list", "functions that the model may call"),
    "tool_choice": ("any", "auto, none, required, or one function"),
    "parallel_tool_calls": ("flag", "false allows one call"),
    "reasoning": ("object", "effort: none, low, medium or high"),
    "include": ("texts", "message.output_text.logprobs tells probabilities, top_logprobs of how many"),
    "truncation": ("text", "disabled refuses an input that is too long instead of shortening it"),
    "stream": ("flag", "send the reply in pieces while it is written"),
}
ANTHROPIC: Mapping[str, Field] = {
    "messages": ("list", "the chat: role and content, a text or blocks of text, tool_use, tool_result and thinking"),
    "system": ("any", "how the model should behave: a text, or blocks of text"),
    "max_tokens": ("integer", "tokens of the reply at most"),
    "stop_sequences": ("texts", "texts that end the reply"),
    "tools": ("list", "functions that the model may call, each with a name and an input_schema"),
    "tool_choice": ("object", "type auto, any, none, or tool with a name; disable_parallel_tool_use allows one call"),
    "thinking": ("object", "type enabled, with budget_tokens, or disabled"),
    "output_config": ("object", "format with the type json_schema and a schema; effort"),
    "stream": ("flag", "send the reply in pieces while it is written"),
}
OLLAMA: Mapping[str, Field] = {
    "model": ("text", "any name; the loaded model answers"),
    "stream": ("flag", "on by default: a line of JSON for each piece"),
    "options": ("object", "num_predict, temperature, top_k, seed, stop and all other samplers"),
    "format": ("any", '"json", or a JSON schema'),
    "think": ("any", "true, false, low, medium or high"),
    "logprobs": ("flag", "tell the probability of each token"),
}
SLOT: Mapping[str, Field] = {"slot": ("integer", "from 0 on")}
GENKEY: Mapping[str, Field] = {"genkey": ("text", "the name of the reply; all without a name where there is none")}
