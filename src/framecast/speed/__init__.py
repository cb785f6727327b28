"""How fast framecast is, against the same mathematics written plainly (`framecast bench`)."""
