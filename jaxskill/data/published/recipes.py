"""How the features that come with a published data set were made."""

# {name of a data set: name of the recipe of its authors' features in configs/features/}.
RECIPES = dict(best="pros_cons", epic_skills="pros_cons", rhythmic_gymnastics="action_net")
