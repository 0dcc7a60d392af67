"""Backchannels and calls to stop, language by language."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Words and phrases of one language, separated by commas; accents, case and apostrophes do not count."""

    #: Approval or attention: they ask for nothing but that the reply goes on.
    backchannels: str
    #: Their first word is enough to know that the reply is to stop.
    commands: str


#: By `primary_language`. What is in both lists of a language counts as a command.
LEXICONS: dict[str, Lexicon] = {
    "en": Lexicon(
        backchannels="""
            yes, yeah, yea, yep, yup, ya, okay, ok, okey, alright, all right, right, sure, fine,
            good, great, cool, nice, wow, really, exactly, indeed, true, totally, absolutely,
            definitely, of course, i see, i know, i understand, understood, got it, gotcha, go on,
            go ahead, that's right, that's true, makes sense, sounds good, very good, very nice,
            interesting, perfect, oh my, oh dear
        """,
        commands="""
            stop, wait, no, nope, hold on, hang on, excuse me, sorry, pardon, pause, enough, quiet,
            shut up, cancel, never mind, one moment, one second, just a moment, just a second,
            a moment, hey, hello, listen, but, actually
        """,
    ),
    "de": Lexicon(
        backchannels="""
            ja, jaja, jawohl, jo, jep, okay, ok, gut, schön, prima, super, toll, klar, genau,
            richtig, stimmt, sicher, natürlich, alles klar, ach so, achso, aha, soso, echt,
            wirklich, verstehe, ich verstehe, verstanden, ich weiß, in ordnung, sehr gut,
            sehr schön, na klar, eben, gerne, weiter
        """,
        commands="""
            stopp, stop, halt, warte, warten, warten sie, nein, nee, nö, moment, einen moment,
            moment mal, sekunde, augenblick, entschuldigung, verzeihung, genug, ruhe, still, pause,
            abbrechen, hallo, aber
        """,
    ),
    "fr": Lexicon(
        backchannels="""
            oui, ouais, ok, okay, d'accord, bien, très bien, bon, super, parfait, exact,
            exactement, voilà, c'est ça, je vois, je comprends, compris, entendu, bien sûr,
            tout à fait, ah bon, vraiment, en effet, génial
        """,
        commands="""
            stop, arrête, arrêtez, attends, attendez, non, pardon, excusez moi, excuse moi,
            un moment, un instant, une seconde, minute, assez, silence, pause, annule, annulez,
            allô, mais
        """,
    ),
    "es": Lexicon(
        backchannels="""
            sí, ya, vale, ok, okay, bien, muy bien, bueno, claro, claro que sí, exacto,
            exactamente, perfecto, de acuerdo, entiendo, ya veo, entendido, por supuesto, correcto,
            cierto, genial, ajá, así es, de verdad
        """,
        commands="""
            para, pare, alto, stop, espera, espere, no, perdón, perdona, disculpa, disculpe,
            un momento, un segundo, basta, silencio, pausa, cancela, oye, oiga, hola, pero
        """,
    ),
    "it": Lexicon(
        backchannels="""
            sì, ok, okay, va bene, bene, benissimo, certo, esatto, esattamente, giusto, capito,
            ho capito, capisco, d'accord, d'accordo, perfetto, vero, davvero, naturalmente, chiaro,
            infatti, già
        """,
        commands="""
            ferma, fermati, fermo, stop, aspetta, aspetti, no, scusa, scusi, mi scusi, un momento,
            un attimo, un secondo, basta, silenzio, pausa, annulla, pronto, ma, senti
        """,
    ),
    "nl": Lexicon(
        backchannels="""
            ja, jaja, jawel, oké, ok, okay, goed, prima, mooi, precies, inderdaad, klopt, juist,
            natuurlijk, zeker, begrepen, ik snap het, ik begrijp het, duidelijk, leuk, echt, aha
        """,
        commands="""
            stop, wacht, wacht even, nee, ho, even wachten, momentje, moment, een moment, sorry,
            pardon, genoeg, stil, pauze, annuleer, hallo, maar
        """,
    ),
    "pt": Lexicon(
        backchannels="""
            sim, é, tá, tá bom, ok, okay, certo, bem, muito bem, bom, claro, exato, exatamente,
            perfeito, entendi, entendo, compreendo, pois, pois é, isso, verdade, com certeza,
            de acordo, beleza, legal
        """,
        commands="""
            para, pare, espera, espere, não, desculpa, desculpe, com licença, um momento,
            um segundo, um instante, chega, basta, silêncio, pausa, cancela, alô, olá, mas
        """,
    ),
    "pl": Lexicon(
        backchannels="""
            tak, no, okej, ok, dobrze, dobra, jasne, właśnie, dokładnie, racja, rozumiem, zgoda,
            oczywiście, super, świetnie, pewnie, naprawdę, aha
        """,
        commands="""
            stop, stój, czekaj, poczekaj, proszę poczekać, nie, chwila, chwileczkę, moment,
            przepraszam, dość, wystarczy, cisza, pauza, anuluj, halo, ale
        """,
    ),
    "ja": Lexicon(
        backchannels="""
            はい, うん, ええ, そう, そうですね, そうですか, なるほど, わかりました, へえ, オーケー,
            いいね
        """,
        commands="""
            待って, 待ってください, ちょっと待って, ちょっと, ストップ, やめて, 止めて, いいえ,
            いや, すみません, あの, もういい
        """,
    ),
    "zh": Lexicon(
        backchannels="""
            嗯, 嗯嗯, 哦, 好, 好的, 对, 对的, 对对, 是, 是的, 没错, 明白, 明白了, 知道了, 行, 可以,
            当然
        """,
        commands="""
            等, 等等, 等一下, 等一等, 停, 停下, 停一下, 不, 不是, 不要, 不对, 打断一下, 对不起,
            不好意思, 够了, 喂
        """,
    ),
}
