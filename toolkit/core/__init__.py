"""The nouns: every thing that one stage hands to the next, as a frozen type. Imports only `toolkit.errors`."""
