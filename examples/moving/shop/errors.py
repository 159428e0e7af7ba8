class UnknownArticle(Exception):
    """Nobody sells this."""
