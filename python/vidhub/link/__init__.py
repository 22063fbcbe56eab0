"""Links to other hubs: one bidirectional call each, over which catalogue, views and orders for media go.

`live.py` is one live link, whichever side dialled; `Part` is what speaks over it (catalogue, views, streams). This
package is an edge like `api`: it sees protobuf messages, the domain below does not.
"""
