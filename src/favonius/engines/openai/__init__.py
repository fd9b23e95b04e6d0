"""Models behind servers that speak OpenAI's API: live over a fleet of endpoints, or through the Batch API."""
