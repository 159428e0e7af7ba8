from .celery import app
from .errors import UnknownArticle

PRICES = {"mug": 1250, "tea": 695}


@app.task(name="shop.price")
def price(lines, discount=0.0):
    """Adds up an order, in cents. Called for every click: the one to move."""
    if not lines:
        raise ValueError("an order has a line or more")
    total = 0
    for line in lines:
        if line["article"] not in PRICES:
            raise UnknownArticle(line["article"])
        total += line["quantity"] * PRICES[line["article"]]
    return round(total * (1 - discount))


@app.task(name="shop.receipt")
def receipt(cents, name):
    """Writes a receipt. It is rare, and stays in Python."""
    return f"{name} pays {cents / 100:.2f}"


@app.task(name="shop.total")
def total(prices):
    return sum(prices)
