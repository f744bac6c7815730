"""`impersonal demo`: a real site, a simulated week of visitors over real HTTP, and what becomes of it."""
