"""Whoever writes the rationales: vLLM, servers, Ray, templates, imports; what carries requests to them."""
