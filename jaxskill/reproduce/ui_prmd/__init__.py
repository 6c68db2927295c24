"""UI-PRMD, recorded rehabilitation movements, as own features: python -m jaxskill.reproduce.ui_prmd."""
