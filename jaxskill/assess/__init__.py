"""A finished run and new videos -> answers and pictures: python -m jaxskill.assess."""
