"""Words that tell whether a sentence can end with them, language by language.

Only what decides: words after which the sentence must go on, sounds of hesitation, openings of questions,
whole answers, digits. Written for spoken language, lower case, without punctuation but apostrophes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lexicon:
    """One language."""

    #: After these the sentence is not over: articles, possessives, conjunctions, most prepositions, pronouns
    #: and verbs that need something after them.
    hanging: frozenset[str]
    #: The same, of two words.
    hanging_pairs: frozenset[str]
    #: Announces the last item of a list.
    joins: frozenset[str]
    #: Said while looking for words.
    fillers: frozenset[str]
    #: A sentence that begins so is a question.
    questions: frozenset[str]
    #: A sentence that begins so needs a second half.
    openers: frozenset[str]
    #: Complete by themselves: answers, greetings, thanks, short commands.
    answers: frozenset[str]
    #: Spoken digits and numbers.
    numbers: frozenset[str]
    #: Names of numbers that are dictated, and how many digits they have at least.
    dictated: dict[str, int]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _phrases(text: str) -> frozenset[str]:
    return frozenset(" ".join(phrase.split()) for phrase in text.split(","))


_EN = Lexicon(
    hanging=_words(
        """
        in a an the my your his our their its every some any this these those and or but nor because if
        unless although though while since whether than as until of to from with without into onto
        between during per via toward towards at for i we he she they i'm we're they're you're he's
        she's i'd we'd i'll we'll i've we've is are was were am be been being has have had does can
        could will would shall should might must very such which whose who's what's where's that's
        there's let's mister mrs doctor just maybe called named
        """
    ),
    hanging_pairs=_phrases(
        """
        would like, want to, need to, going to, have to, in the, on the, looking for, i need, i want, i
        think, i mean, i guess, you know, kind of, sort of, so that, and then, and so, number is, name
        is, address is, email is, it's a, and also, and maybe, how about, what about, such as, in case,
        because of, instead of, tell me, show me, give me, send me, bring me, let me, allow me
        """
    ),
    joins=_words("and or"),
    fillers=_words(
        """
        um uh uhm umm erm er hmm hm mm ah eh like so
        """
    ),
    questions=_words(
        """
        what what's who who's whose where where's when why how how's which is are am was were do does
        did can could will would shall should may have has isn't aren't don't doesn't didn't can't
        couldn't won't wouldn't
        """
    ),
    openers=_words(
        """
        if when because although though while since unless once after before whenever
        """
    ),
    answers=_phrases(
        """
        yes, no, yeah, yep, yup, nope, nah, okay, ok, sure, right, correct, exactly, absolutely,
        definitely, yes please, no thanks, no thank you, thanks, thank you, thank you very much, thanks
        a lot, please, hello, hi, hey, good morning, good afternoon, good evening, good night, goodbye,
        bye, bye bye, see you, stop, wait, cancel, help, repeat, again, pardon, sorry, what, why, who,
        where, when, how, never mind, that's all, that's it, that's right, of course, not really, i
        don't know, i do, i am, it is, i think so, i'm fine, all right, alright, wait a moment, hold on,
        go ahead, go on, maybe, maybe later, today, tomorrow, yes i do, yes i am, yes it is, no i don't,
        please repeat that
        """
    ),
    numbers=_words(
        """
        zero oh one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
        sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety
        hundred thousand double triple
        """
    ),
    dictated={
        "phone": 7,
        "telephone": 7,
        "mobile": 7,
        "card": 12,
        "account": 8,
        "pin": 4,
        "code": 4,
        "order": 4,
        "zip": 5,
        "postcode": 5,
        "customer": 5,
        "booking": 5,
        "number": 4,
    },
)

_DE = Lexicon(
    hanging=_words(
        """
        der die das den dem des ein eine einen einem einer eines mein meine meinen meinem meiner dein
        deine ihr ihre ihren sein seine unser unsere und oder aber sondern denn weil dass ob wenn als
        obwohl damit bevor nachdem während sobald falls von zum zur ohne für gegen bei beim in im ins am
        hinter zwischen bis per ich wir ist sind war waren bin habe hatte möchte möchten will wollen
        kann könnte würde würden muss soll sollte darf sehr auch nur noch etwa ungefähr welche welcher
        welches heiße namens
        """
    ),
    hanging_pairs=_phrases(
        """
        ich möchte, ich hätte, ich brauche, hätte gern, hätte gerne, möchte gern, möchte gerne, ich
        glaube, ich meine, ich suche, und dann, und zwar, das heißt, nummer ist, nummer lautet, name
        ist, zum beispiel, wie wäre, und auch, sie mir, sag mir, gib mir, zeig mir
        """
    ),
    joins=_words("und oder sowie"),
    fillers=_words(
        """
        äh ähm öh hm hmm tja naja also halt na
        """
    ),
    questions=_words(
        """
        was wer wo wann warum wieso weshalb wie welche welcher welches wohin woher wen wem wieviel ist
        sind hast haben habt kann kannst können könnten könntest möchten möchtest gibt darf soll muss
        bist wird werden würdest würden
        """
    ),
    openers=_words(
        """
        wenn weil obwohl während falls sobald nachdem bevor als da
        """
    ),
    answers=_phrases(
        """
        ja, nein, doch, genau, richtig, okay, ok, klar, gut, sicher, ja bitte, nein danke, danke, vielen
        dank, danke schön, dankeschön, bitte, hallo, guten morgen, guten tag, guten abend, gute nacht,
        tschüss, auf wiedersehen, auf wiederhören, stopp, halt, moment, warte, hilfe, wie bitte, was,
        wer, wo, wann, warum, das ist alles, das war alles, egal, vielleicht, natürlich, heute, morgen,
        ich weiß nicht, keine ahnung, alles klar, in ordnung, gerne, gern
        """
    ),
    numbers=_words(
        """
        null eins ein zwei zwo drei vier fünf sechs sieben acht neun zehn elf zwölf zwanzig dreißig
        vierzig fünfzig sechzig siebzig achtzig neunzig hundert tausend
        """
    ),
    dictated={
        "telefonnummer": 7,
        "handynummer": 8,
        "kartennummer": 12,
        "kontonummer": 8,
        "kundennummer": 5,
        "bestellnummer": 4,
        "auftragsnummer": 4,
        "postleitzahl": 5,
        "pin": 4,
        "code": 4,
        "nummer": 4,
    },
)

_FR = Lexicon(
    hanging=_words(
        """
        est sont suis en avec le la les l' un une des du de d' au aux ce cet cette ces mon ma mes ton ta
        tes son sa ses notre nos votre vos leur leurs et ou mais ni car que qu' qui dont si parce
        puisque lorsque quand comme afin à dans par pour sur sous sans chez vers entre depuis pendant je
        j' tu ai avons avez était c' voudrais veux peux pourrais dois faut très trop ne n' s'appelle
        m'appelle j'aimerais
        """
    ),
    hanging_pairs=_phrases(
        """
        je voudrais, je veux, je cherche, je pense, je crois, j'ai besoin, besoin de, parce
        que, est-ce que, et puis, numéro est, nom est, afin de, à cause, il y, y a, par
        exemple
        """
    ),
    joins=_words("et ou"),
    fillers=_words(
        """
        euh heu hum hmm ben bah alors donc enfin
        """
    ),
    questions=_words(
        """
        qui que quoi quel quelle quels quelles où quand comment pourquoi combien est-ce qu'est-ce
        peux-tu pouvez-vous avez-vous puis-je pourriez-vous y a-t-il
        """
    ),
    openers=_words(
        """
        si lorsque puisque comme parce
        """
    ),
    answers=_phrases(
        """
        oui, non, si, ouais, d'accord, ok, okay, bien sûr, exactement, voilà, oui s'il vous plaît, non
        merci, merci, merci beaucoup, s'il vous plaît, bonjour, bonsoir, salut, bonne nuit, au revoir,
        stop, arrête, arrêtez, attends, attendez, un instant, pardon, comment, quoi, qui, où, quand,
        pourquoi, c'est tout, c'est ça, peut-être, aujourd'hui, demain, je ne sais pas, ça va, très bien
        """
    ),
    numbers=_words(
        """
        zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize
        vingt trente quarante cinquante soixante cent mille
        """
    ),
    dictated={
        "téléphone": 10,
        "portable": 10,
        "carte": 12,
        "compte": 8,
        "commande": 4,
        "client": 5,
        "postal": 5,
        "pin": 4,
        "code": 4,
        "numéro": 4,
    },
)

_ES = Lexicon(
    hanging=_words(
        """
        para el la los las un una unos unas lo mi mis tu tus su sus nuestro nuestra este esta estos
        estas ese esa y e o u pero sino ni que porque si cuando aunque mientras como pues de del a al en
        con sin por sobre entre desde hasta hacia según durante es son soy está están estoy era fue ha
        he han hay quiero quisiera puedo puede podría debo tengo necesito muy llamo
        """
    ),
    hanging_pairs=_phrases(
        """
        me gustaría, quiero que, tengo que, voy a, me llamo, creo que, o sea, es que, y luego, número
        es, nombre es, por ejemplo, para que, a causa, lo que, así que
        """
    ),
    joins=_words("y e o u"),
    fillers=_words(
        """
        eh em mmm hmm pues entonces digamos
        """
    ),
    questions=_words(
        """
        qué quién quiénes dónde cuándo cómo cuánto cuánta cuántos cuántas cuál cuáles puede puedes
        podría podrías hay tiene tienes está es
        """
    ),
    openers=_words(
        """
        si cuando porque aunque mientras como
        """
    ),
    answers=_phrases(
        """
        sí, si, no, vale, claro, exacto, correcto, de acuerdo, por supuesto, ok, okay, sí por favor, no
        gracias, gracias, muchas gracias, por favor, hola, buenos días, buenas tardes, buenas noches,
        adiós, hasta luego, para, alto, espera, espere, un momento, perdón, qué, quién, dónde, cuándo,
        por qué, eso es todo, nada más, quizás, tal vez, hoy, mañana, no sé, muy bien, está bien
        """
    ),
    numbers=_words(
        """
        cero uno un dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince
        veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa cien ciento mil
        """
    ),
    dictated={
        "teléfono": 9,
        "móvil": 9,
        "tarjeta": 12,
        "cuenta": 8,
        "pedido": 4,
        "cliente": 5,
        "postal": 5,
        "pin": 4,
        "código": 4,
        "número": 4,
    },
)

_IT = Lexicon(
    hanging=_words(
        """
        ho hanno il lo la i gli le l' un uno una un' del dello della dei degli delle al allo alla ai
        agli alle dal dalla nel nella sul sulla mio mia miei mie tuo tua suo sua nostro vostro loro
        questo questa quel quella e ed o ma però né che se perché quando mentre come poiché di a da in
        con su per tra fra senza verso durante io è sono era ha abbiamo vorrei voglio posso può potrei
        devo molto chiamo
        """
    ),
    hanging_pairs=_phrases(
        """
        mi chiamo, ho bisogno, bisogno di, mi piacerebbe, penso che, credo che, vorrei un, e poi,
        numero è, nome è, per esempio, ad esempio, a causa, in modo
        """
    ),
    joins=_words("e ed o"),
    fillers=_words(
        """
        ehm eh uhm mmm allora dunque beh cioè insomma ecco
        """
    ),
    questions=_words(
        """
        che cosa cos'è chi dove dov'è quando come com'è perché quanto quanta quanti quante quale quali
        puoi può potrebbe potresti c'è ci hai avete
        """
    ),
    openers=_words(
        """
        se mentre poiché siccome appena
        """
    ),
    answers=_phrases(
        """
        sì, si, no, va bene, certo, esatto, giusto, d'accordo, ok, okay, sì grazie, no grazie, grazie,
        grazie mille, molte grazie, per favore, prego, ciao, buongiorno, buonasera, buonanotte,
        arrivederci, basta, ferma, aspetta, aspetti, un momento, scusi, scusa, come, cosa, chi, dove,
        quando, perché, è tutto, basta così, forse, oggi, domani, non lo so, tutto bene, bene
        """
    ),
    numbers=_words(
        """
        zero uno due tre quattro cinque sei sette otto nove dieci undici dodici venti trenta quaranta
        cinquanta sessanta settanta ottanta novanta cento mille
        """
    ),
    dictated={
        "telefono": 9,
        "cellulare": 9,
        "carta": 12,
        "conto": 8,
        "ordine": 4,
        "cliente": 5,
        "postale": 5,
        "pin": 4,
        "codice": 4,
        "numero": 4,
    },
)

#: By `primary_language`. In any other language only punctuation and sound count.
LEXICONS = {"en": _EN, "de": _DE, "fr": _FR, "es": _ES, "it": _IT}
