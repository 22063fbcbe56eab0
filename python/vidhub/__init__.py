"""vidhub: registers, shares and shows the video of public places, under access control and on record."""

__version__ = "0.1.0"
