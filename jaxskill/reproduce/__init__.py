"""Tables, figures and claims, by one command each: python -m jaxskill.reproduce.NAME."""
