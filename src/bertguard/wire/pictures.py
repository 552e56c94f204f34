"""Pictures and sounds in base64 without a type, at the keys where formats put them."""

from __future__ import annotations

from bertguard.wire.collector import Collector, Link, Voice, word
from bertguard.wire.media import LEAST_PAYLOAD, read_media, take_shown

# Ollama and Cohere; SGLang; llama.cpp, which tells pictures from sounds by their first bytes.
_LISTS = {"images": "image", "image_data": "image", "audio_data": "audio", "video_data": "video",
          "multimodal_data": "media"}  # fmt: skip
_FRAMES = ("image", "video")
# Where none of these is there is nothing to look for.
PICTURES = frozenset({*_LISTS, "image_url", "audio", "bytesBase64Encoded"})


def read_pictures(c: Collector, holder: dict[str, object], link: Link, voice: Voice) -> None:
    """Those of any one object; what decodes to text is said by `voice`, and swept as it stands."""
    for key, shown in _LISTS.items():
        value = holder.get(key)
        if isinstance(value, str):
            _picture(c, holder, key, value, shown=shown, voice=voice, link=link)
        elif isinstance(value, list):
            for number, item in enumerate(value):
                if isinstance(item, str):
                    place: Link = (link, key)
                    _picture(c, value, number, item, shown=shown, voice=voice, link=place)
    address = holder.get("image_url")
    if isinstance(address, str) and address[:11].lower() == "data:image/":
        _picture(c, holder, "image_url", address, shown="image", voice=voice, link=link)
    sound = holder.get("audio")
    if isinstance(sound, str) and word(holder, "type") == "input_audio_buffer.append":
        _picture(c, holder, "audio", sound, shown="audio", voice=voice, link=link)
    if isinstance(holder.get("bytesBase64Encoded"), str):  # Vertex
        held_by = link[1] if isinstance(link, tuple) else ""
        read_media(c, holder, voice, link, kind=f"{held_by}/" if held_by in _FRAMES else "")


def _picture(
    c: Collector,
    holder: dict[str, object] | list[object],
    key: str | int,
    value: str,
    *,
    shown: str,
    voice: Voice,
    link: Link,
) -> None:
    encoded = value.partition(",")[2] if value[:5].lower() == "data:" else value
    if len(encoded) >= LEAST_PAYLOAD and key not in c.read.get(id(holder), ()):
        take_shown(c, holder, key, encoded, shown=shown, voice=voice, link=(link, key))
