"""Where regions lie: outlines out of one replaceable GeoJSON file, which says its source, date, datum and licence."""

from vidhub.places.outlines import MARGIN_M, SHIPPED, Outlines, file_of

__all__ = ["MARGIN_M", "SHIPPED", "Outlines", "file_of"]
