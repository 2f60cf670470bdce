"""A contact sheet: the images that look most and least in-distribution, with their scores."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

from energy_plugin_bench.apply.images import Images, UnreadableImageError
from energy_plugin_bench.apply.scoring import Judged, ranked

CELL, CAPTION, GAP, COLUMNS = 144, 46, 12, 6
PAPER, INK, GREY = "#ffffff", "#1a1a1a", "#767676"
FRAME = {"ID": "#0072b2", "OOD": "#d55e00"}  # told apart by colour-blind eyes too; the words stand beside


def contact_sheet(source: Images, judged: Sequence[Judged], threshold: float, each: int = 12) -> bytes:
    """Draw the `each` most and the `each` least ID-like images, as a PNG.

    Args:
        source: The images.
        judged: Of `scoring.judge`, in the source's order.
        threshold: Of the decision, named in the head.
        each: Images a block; where there are fewer than twice as many, none is drawn twice.
    """
    order = ranked(judged)
    most = order[: min(each, (len(order) + 1) // 2)]
    least = [position for position in reversed(order) if position not in set(most)][:each]
    blocks = [
        (f"Most ID-like {len(most)} of {len(order)}", most),
        (f"Least ID-like {len(least)} of {len(order)}", least),
    ]
    rows = sum(-(-len(block) // COLUMNS) for _, block in blocks)
    width = COLUMNS * (CELL + GAP) + GAP
    sheet = Image.new("RGB", (width, 40 + 2 * 36 + rows * (CELL + CAPTION + GAP) + GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    head = f"energy score: higher = more OOD; above {threshold:.3f} = OOD"
    pen.text((GAP, 12), head, fill=GREY, font=_font(15))
    top = 40
    for title, block in blocks:
        pen.text((GAP, top + 8), title, fill=INK, font=_font(18))
        top += 36
        for place, position in enumerate(block):
            row, column = divmod(place, COLUMNS)
            corner = GAP + column * (CELL + GAP), top + row * (CELL + CAPTION + GAP)
            _cell(sheet, pen, corner, _thumbnail(source, position), judged[position])
        top += -(-len(block) // COLUMNS) * (CELL + CAPTION + GAP)
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return out.getvalue()


def _cell(
    sheet: Image.Image,
    pen: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    picture: Image.Image,
    entry: Judged,
) -> None:
    left, top = corner
    sheet.paste(picture, (left + (CELL - picture.width) // 2, top + (CELL - picture.height) // 2))
    pen.rectangle((left, top, left + CELL - 1, top + CELL - 1), outline=FRAME[entry.decision], width=3)
    score = "no number" if entry.score is None else f"{entry.score:.3f}"
    pen.text((left, top + CELL + 2), f"{entry.decision}  {score}", fill=INK, font=_font(13))
    pen.text((left, top + CELL + 17), _fitting(entry.image, 12), fill=GREY, font=_font(12))
    pen.text((left, top + CELL + 31), _fitting(f"as {entry.predicted}", 12), fill=GREY, font=_font(12))


def _thumbnail(source: Images, position: int) -> Image.Image:
    """The image as large as fits; small ones are enlarged without blur. Alpha is shown on white."""
    try:
        image = source.open(position)
    except (UnreadableImageError, OSError):  # it went away since it was scored
        return Image.new("RGB", (CELL - 8, CELL - 8), "#dddddd")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, PAPER), image)
    size = (CELL - 8, CELL - 8)
    small = max(image.size) < CELL - 8
    return ImageOps.contain(
        image.convert("RGB"), size, Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
    )


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _fitting(text: str, size: int) -> str:
    """Shorten a text in its middle so that it fits under a picture."""
    font = _font(size)
    if font.getlength(text) <= CELL:
        return text
    for kept in range(len(text) - 1, 1, -1):
        head = kept // 3
        short = f"{text[:head]}...{text[len(text) - (kept - head) :]}"
        if font.getlength(short) <= CELL:
            return short
    return "..."
