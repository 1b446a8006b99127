"""Options of contextual dimensions for which no language model is asked. The words are ours.

Fifteen each, so that the paper's 5, 10 and 15 can be had. They say nothing of the class: each
stands with every class equally often, so that a student cannot learn a class from its context.
"""

TIME = (
    "at dawn", "in the morning", "at noon", "in the afternoon", "in the evening", "at sunset",
    "at night", "on a rainy day", "on a foggy morning", "on a cloudy day", "on a sunny day",
    "in autumn", "in winter", "in spring", "in the first light of day",
)  # fmt: skip
ANGLE = (
    "seen from the front", "seen from the side", "seen from above", "seen from below",
    "seen from behind", "at eye level", "as a close-up", "from a distance", "at a slight angle",
    "in the centre of the picture", "with a wide lens", "with a long lens", "seen from the left",
    "seen from the right", "as a snapshot",
)  # fmt: skip
COLOUR = (
    "white", "yellow", "red", "pink", "purple", "blue", "orange", "green", "brown", "black",
    "grey", "silver", "golden", "beige", "turquoise",
)  # fmt: skip
LIGHT = (
    "in soft light", "in bright sunlight", "in the shade", "in the light of a lamp",
    "lit from the side", "lit from behind", "with a flash", "in dim light", "in warm light",
    "in cold light", "under an overcast sky", "with strong shadows", "in even light",
    "in window light", "by candle light",
)  # fmt: skip
POSITION = (
    "sitting", "lying down", "standing", "walking", "running", "jumping", "sleeping", "playing",
    "looking at the camera", "looking away", "eating", "stretching", "curled up", "waiting",
    "with its head tilted",
)  # fmt: skip
SERVING = (
    "on a white plate", "in a bowl", "on a wooden board", "in a pan", "on a tray", "in a basket",
    "on a slate", "in a lunch box", "on parchment", "in a paper box", "on a banana leaf",
    "with a side salad", "with a fork beside it", "cut into portions", "on a banquet table",
)  # fmt: skip
FABRIC = (
    "of cotton", "of wool", "of silk", "of linen", "of leather", "of wood", "of stone",
    "of paper", "of metal", "of glass", "of plastic", "of clay", "of felt", "of rubber",
    "of velvet",
)  # fmt: skip
THING = (
    "on a shirt", "on a curtain", "on a wall", "on a floor", "on a cushion", "on a bag",
    "on a rug", "on a table", "on a vase", "on a blanket", "on a chair", "on a tile", "on a box",
    "on a scarf", "on a leaf",
)  # fmt: skip
ANYWHERE = (
    "indoors", "outdoors", "in a street", "in a garden", "in a park", "in a room", "in a field",
    "at the sea", "in the mountains", "in a forest", "in a town", "in a yard", "on a table",
    "in front of a wall", "in a studio",
)  # fmt: skip
AT_HOME = (
    "on a sofa", "in a garden", "on a lawn", "in a kitchen", "on a beach", "in a park", "on a bed",
    "in a forest", "on a balcony", "on a carpet", "by a window", "on a street", "in a meadow",
    "on a porch", "in the snow",
)  # fmt: skip
AT_TABLE = (
    "in a restaurant", "in a kitchen", "at a street stall", "on a picnic", "in a canteen",
    "on a terrace", "in a bar", "at a market", "at a birthday party", "in a dining room",
    "in a hotel", "in a garden", "on a train", "at a wedding", "in a snack bar",
)  # fmt: skip
IN_BLOOM = (
    "in a garden", "in a meadow", "in a pot", "in a vase", "in a greenhouse", "by a path",
    "in a forest", "in a park", "on a balcony", "in the mountains", "beside a pond",
    "at a market", "in front of a house", "in a botanical garden", "on a rock",
)  # fmt: skip
ON_WHEELS = (
    "on a street", "on a motorway", "in a car park", "in front of a house", "at a car show",
    "in a garage", "on a country road", "on a bridge", "in a town", "at the sea",
    "in the mountains", "at a petrol station", "in a desert", "on a race track", "in a forest",
)  # fmt: skip
IN_THE_AIR = (
    "on a runway", "in the sky", "at an airport gate", "above clouds", "in a hangar",
    "above a city", "above the sea", "on an airfield", "above mountains", "at an air show",
    "taking off", "landing", "above fields", "on a taxiway", "in front of a control tower",
)  # fmt: skip
