"""English words that decide whether a lower-case letter is a mistake."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ENGLISH = _words("""
    a about all am and any are as at be been but by can could did do does don't each for from get give had has have
    hello help here how i i'm if in into is it it's its just let's like make me more most my need no not of on one
    only or our out please she should so some such sure than thank thanks that that's the their them then there
    these they this those to try up use used using want was we were what when where which while who why will with
    would yes you you're your
""")
"""Makes up about half of English prose; a line with few of them is another language, code or a list."""

ABBREVIATIONS = _words("""
    abbr adj adv al approx apr apt assn assoc aug auth ave avg bldg blvd bros ca capt cf ch co col comdr cont corp
    cpl ctr dec def dept diam dist div dr eg eq eqs esp esq est etc ex excl exp ext feb fig figs freq fri ft fwd gal
    gen gov govt hon hr hrs ibid ie illus inc incl inst int intl jan jeopardy jr jul jun lb lbs lt ltd maj mar max
    mfg mgr min mins misc mon mr mrs ms msec mt mtg natl neg nov nr obj oct op opp orig oz para pct pg pl pos pp
    prep prev prob prof pron pt qt qty rd ref refs reg rep resp rev sci sec secs sen sep sept seq sgt sing sq sr st
    subj supp syn tbs tbsp tbsps tel temp thu thur thurs transl tsp tsps tue tues univ usu var viz vol vols vs wed
    wk wks yahoo yd yr yrs
""")
"""A stop behind one of these is its own, or may be."""

UNITS = _words("cm g h in kg km l m mg min ml mm no s")
"""Behind a number these are abbreviations, elsewhere words or letters like any other."""

LOWER_CASE_NAMES = _words("""
    adidas aka al apt awk bash bin cargo cat cd chmod chown cmake conda cos cp csh curl cv de del der docker eg el
    etc ffmpeg gcc gdb gh git glibc gnu go gradle grep gzip http https ie jq jquery js ksh kubectl la latex le libc
    ln log lol ls lululemon make matplotlib mkdir mv mypy mysql nginx node npm npx numpy nvm pandas perl php pip
    pnpm poetry ps psql pytest python react redis rm rsync ruby rust scipy scp sed sh sin ssh sudo svn systemctl tan
    tar tmux uv van vi vim von vs webpack wget www yarn zsh
""")
"""Commands, functions, brands and parts of names that stay small at the beginning of a sentence."""

CONTINUES = _words("and are as at by for from has in is of on or that to was were which who with")
"""Goes on with the sentence after a name that ends in a stop: Yahoo! is, No. of, Acme Ltd. was."""

OPENERS = _words("""
    create describe did do does explain generate hello here's hey hi how i i'd i'll i'm i've let's no ok okay please
    provide rewrite sorry suggest summarize sure thank thanks there's translate what what's who why write yes
""")
"""Begin a request or an answer; the middle of a sentence, where a text goes on with an earlier one, rarely."""

ASKING = _words("am are can could find give has have help here is make may should show tell there was were will would")
ADDRESSED = _words("am are he i is it me my she that they this us was we will you")
"""An ASKING word opens a text where one of these is next: can you, give me, here are."""

BEFORE_PRONOUN = _words("""
    after although am and anything as because before but can could did do everything had have how if may might must
    no once or shall should since so something than that then think though unless until was what whatever when
    whenever where whether which while who why will would yes
""")
AFTER_PRONOUN = _words("""
    agree already also always am appreciate asked believe bought came can can't cannot could couldn't currently
    decided definitely did didn't do don't ever expect feel felt find forgot found gave get go got guess had hadn't
    hate have haven't hear heard hope just keep knew know learned like live lost love made make may mean met might
    missed must need needed never noticed often only ordered own plan prefer put ran read realized really recently
    recommend remember said saw see seem should shouldn't sometimes start started still suggest suppose take think
    thought told took tried try turned understand use used usually visited wake walk walked want wanted was wasn't
    watched went were will wish won't wonder wondered work worked would wouldn't write wrote
""")
"""Beside these a lone `i` is the pronoun; elsewhere it may be a variable, a numeral or a word of another language."""
