"""English words that decide whether a lower-case letter is a mistake."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ENGLISH = _words("""
    a about all am and any are as at be been but by can could did do does don't each for from get give had has have
    hello help here how i i'm if in into is it it's its just let's like make me more most my need no not of on one
    only or our out please she should so some such sure than thank thanks that that's the their them then there
    these they this those to try up use used using want was we were what when where which while who why will with
    would yes you your you're
""")
"""Makes up about half of English prose; a line with few of them is another language, code or a list."""

ABBREVIATIONS = _words("""
    abbr adj adv al approx apt assn assoc auth ave avg bldg blvd bros ca capt cf ch col comdr corp cont cpl ctr def
    dept diam dist div dr eg eq eqs esp est esq etc ex excl exp ext fig figs freq ft fwd gal gen gov govt hon hr hrs
    ibid ie illus inc incl inst int intl jeopardy jr lb lbs lt ltd maj max mfg mgr min mins misc mr mrs ms msec mt
    mtg natl neg nr obj op opp orig oz para pct pg pl pos pp prep prev prob prof pron pt qt qty ref refs reg rep
    resp rev rd sci sec secs sen seq sgt sing sq sr st subj supp syn tbs tbsp tbsps tel temp transl tsp tsps univ
    usu var viz vol vols vs wk wks yahoo yd yr yrs jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed
    thu thur thurs fri
""")
"""A stop behind one of these is its own, or may be."""

UNITS = _words("cm g h in kg km l m mg min ml mm no s")
"""Behind a number these are abbreviations, elsewhere words or letters like any other."""

LOWER_CASE_NAMES = _words("""
    adidas aka apt awk bash cargo cat cd chmod chown cmake conda cos cp csh curl cv docker etc ffmpeg gcc gdb gh git
    glibc gnu go gradle grep gzip http https ie eg jq jquery js kubectl ksh latex libc ln log ls lululemon make
    matplotlib mkdir mv mypy mysql nginx node npm npx numpy nvm pandas perl php pip pnpm poetry ps psql pytest
    python react redis rm rsync ruby rust scipy scp sed sh sin ssh sudo svn systemctl tan tar tmux uv vi vim vs
    webpack wget www yarn zsh
""")
"""Commands, functions and brands that stay small at the beginning of a sentence."""

CONTINUES = _words("and are as at by for from has in is of on or that to was were which who with")
"""Goes on with the sentence after a name that ends in `!` or `?`: Yahoo! is, Who's There? was."""

OPENERS = _words("""
    create describe do does did explain generate hello here's hey hi how i i'd i'll i'm i've let's no ok okay please
    provide rewrite sorry suggest summarize sure thank thanks there's translate what what's who why write yes
""")
"""Begin a request or an answer; the middle of a sentence, where a text goes on with an earlier one, rarely."""

ASKING = _words("am are can could find give has have help here is make may should show tell there was were will would")
ADDRESSED = _words("am are he i is it me my she that they this us was we will you")
"""An ASKING word opens a text where one of these is next: can you, give me, here are."""

BEFORE_PRONOUN = _words("""
    although am and as because before but can could did do had have how if may might must once or shall should since
    so than that then think though unless until was what when whenever where whether which while who why will would
    yes no after whatever everything something anything
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
