"""The one place that knows a chat template: text, token ids, masks."""
