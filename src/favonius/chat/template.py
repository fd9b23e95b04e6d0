"""Zephyr's chat template (zephyr-spec §2.3).

Every turn is a marker line, the content, the end token and a newline; a dialogue without a system message opens with
an empty one, as Zephyr was trained and is served. The markers are ordinary text, not special tokens.
"""

from __future__ import annotations

ZEPHYR = """\
{%- if messages[0]['role'] != 'system' -%}
{{ '<|system|>\\n' + eos_token + '\\n' }}
{%- endif -%}
{%- for message in messages -%}
{%- if message['role'] not in ['system', 'user', 'assistant'] -%}
{{ raise_exception('the Zephyr template knows the roles system, user and assistant, not ' + message['role']) }}
{%- endif -%}
{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|assistant|>\\n' }}
{%- endif -%}
"""
