"""Which encoders and decoders of images there are, and what images they take."""

from __future__ import annotations

from framecast.clip import ClipSpec
from framecast.errors import UserError
from framecast.models.config import CourseConfig
from framecast.models.dcgan import DcganDecoder, DcganEncoder
from framecast.models.layers import ImageDecoder, ImageEncoder, ImageSpec
from framecast.models.vgg import VggDecoder, VggEncoder

IMAGE_SIZES = (64, 128)
IMAGE_NETWORKS: dict[str, tuple[type[ImageEncoder], type[ImageDecoder]]] = {
    "dcgan": (DcganEncoder, DcganDecoder),
    "vgg": (VggEncoder, VggDecoder),
}


def build_image_networks(config: CourseConfig, spec: ClipSpec) -> tuple[ImageEncoder, ImageDecoder]:
    """Encoder and decoder. Raises UserError for frames of a size they cannot take."""
    if spec.height != spec.width or spec.height not in IMAGE_SIZES:
        sizes = " or ".join(f"{size}x{size}" for size in IMAGE_SIZES)
        raise UserError(
            f"The {config.image_network} image network takes frames of {sizes}, "
            f"got {spec.width}x{spec.height}. Import with --size {IMAGE_SIZES[0]}."
        )
    images = ImageSpec(
        channels=spec.channels,
        size=spec.height,
        code_dim=config.code_dim,
        code_size=config.code_size,
        width=config.image_width,
        norm=config.norm,
    )
    encoder, decoder = IMAGE_NETWORKS[config.image_network]
    return encoder(images), decoder(images)
