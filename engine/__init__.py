"""A workflow engine on asyncio: a pure core, a thin shell, a journal that is the only truth."""
