"""Makes the README's pictures from a real page: `python docs/pictures.py PATH/report.html
docs/img/answer`.

Writes OUT-light.png and OUT-dark.png: the page's heading, its verdict and the map of who is fastest
where, as headless Chromium draws them. With --url instead of a file: what a server shows at that
address, in OUT.png (the MLflow UI).
"""

import argparse
import base64
import io
import shutil
import time
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)
ANSWER = "document.querySelector('[aria-labelledby=map-title]').getBoundingClientRect().bottom + scrollY + 12"
SETTLED_S = 1.5  # until a page has drawn


def browser():
    """A headless Chromium."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome")
    for flag in FLAGS:
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def picture(driver, url, width, height, scheme, wait_s, before=""):
    """What the browser shows at an address; height None: down to the end of the page's answer."""
    media = {"media": "screen", "features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    metrics = {"width": width, "height": height or 1000, "deviceScaleFactor": 1.5, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    driver.get(url)
    time.sleep(wait_s)
    if before:
        driver.execute_script(before)
        time.sleep(SETTLED_S)
    wanted = {"format": "png"}
    if height is None:
        clip = {
            "x": 0,
            "y": 0,
            "width": width,
            "height": driver.execute_script(f"return {ANSWER}"),
            "scale": 1,
        }
        wanted |= {"captureBeyondViewport": True, "clip": clip}
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", wanted)
    image = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
    # A third of the size, each tint as it is: without the refinement small marks lose their colour.
    return image.quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=3, dither=Image.Dither.NONE)


def main():
    """Write the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", help="a report.html, or with --url an address")
    parser.add_argument("out", help="where to, without the ending")
    parser.add_argument("--width", type=int, default=980)
    parser.add_argument(
        "--url", action="store_true", help="`page` is the address of a server; one picture, light"
    )
    parser.add_argument("--height", type=int, default=900, help="of a picture of an address")
    parser.add_argument(
        "--wait", type=float, default=8.0, help="seconds until that address has drawn"
    )
    parser.add_argument(
        "--before", default="", help="JavaScript to run first, to close what lies above"
    )
    options = parser.parse_args()
    driver = browser()
    try:
        if options.url:
            shown = picture(
                driver,
                options.page,
                options.width,
                options.height,
                "light",
                float(options.wait),
                options.before,
            )
            shown.save(f"{options.out}.png", optimize=True)
            return
        for scheme in ("light", "dark"):
            address = Path(options.page).resolve().as_uri()
            shown = picture(
                driver, address, options.width, None, scheme, SETTLED_S, "theme.hidden = true"
            )
            shown.save(f"{options.out}-{scheme}.png", optimize=True)
    finally:
        driver.quit()


if __name__ == "__main__":
    main()
