"""The maths of the lab. Each name is a word of the field; a module imports only what stands above it.

picture_folder  your own pictures: a folder of files
data            images in [-1, 1]
schedule        the noise schedule: β, ᾱ, β̃; adding noise
captions        coloured digits with a sentence each
networks        the U-Net and the other networks
training        the loss, one step, the training run
checkpoints     weights that say where they come from
sampling        the reverse loop; DDPM, DDIM and other samplers; guidance
evaluation      how good are generated images?
toys            the small problems of lessons 1 and 6
plots, presets  figures; the three sizes of a run
checks          tell a student what is wrong
commands        ``python -m labutils …``
"""

from labutils._support import startup  # noqa: F401 (first: it imports TensorFlow without its start-up messages)

__version__ = "1.0.0"
