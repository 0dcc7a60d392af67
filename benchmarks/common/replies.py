"""What the language model of the benchmarks answers."""

from __future__ import annotations

#: What assistants say, some with a short opening and some without. No two replies of a run are the same, for
#: what was said before may be remembered.
REPLIES = (
    "It is sunny in {city} today, about {number} degrees.",
    "Sure, what day in {month} would you like?",
    "The {city} train leaves from platform {number}.",
    "Your order left our warehouse in {city} this morning.",
    "The timer is set for {number} minutes.",
    "Nice to meet you, {name}. How can I help?",
    "That costs {number} euros, delivery included.",
    "I will remind you in {month} to call {name}.",
    "It is {number} minutes past three in {city}.",
    "I found {number} tables. Shall I book one for {name}?",
)
WORDS = {
    "city": ("Berlin", "Oslo", "Madrid", "Vienna", "Lisbon", "Prague", "Dublin", "Athens"),
    "number": ("twelve", "seven", "nineteen", "twenty", "eleven", "fourteen", "sixteen", "thirteen"),
    "month": ("May", "June", "October", "March", "August", "April", "July", "December"),
    "name": ("David", "Sarah", "Peter", "Mary", "Daniel", "Anna", "Thomas", "Laura"),
}


def reply(number: int) -> str:
    """What is answered to the question of that number."""
    template, variant = REPLIES[number % len(REPLIES)], number // len(REPLIES)
    return template.format(**{kind: words[variant % len(words)] for kind, words in WORDS.items()})
