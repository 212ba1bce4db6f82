"""One table of languages, whatever the code they are called by.

`find("pt-BR")`, `find("por_Latn")` and `find("por")` all give Portuguese. An unknown code is an
error that suggests the nearest one: tools that fall back silently lose a language's rules.
"""

import difflib
import re
from dataclasses import dataclass
from functools import cache

from pipeline.errors import RecipeError

# ISO 639-3, ISO 639-1 (- where there is none), default script (ISO 15924), English name.
# Codes and scripts are those of FLORES-200.
_TABLE = """
afr af Latn Afrikaans|amh am Ethi Amharic|arb ar Arab Arabic|asm as Beng Assamese
ast - Latn Asturian|azj az Latn Azerbaijani|bak ba Cyrl Bashkir
bam bm Latn Bambara|bel be Cyrl Belarusian
bem - Latn Bemba|bre br Latn Breton|ben bn Beng Bengali|bos bs Latn Bosnian|bul bg Cyrl Bulgarian
cat ca Latn Catalan|ceb - Latn Cebuano|ces cs Latn Czech|cym cy Latn Welsh|dan da Latn Danish
deu de Latn German|dzo dz Tibt Dzongkha|ell el Grek Greek|eng en Latn English
epo eo Latn Esperanto|est et Latn Estonian|eus eu Latn Basque|ewe ee Latn Ewe
fao fo Latn Faroese|fin fi Latn Finnish|fra fr Latn French|fry fy Latn Western Frisian
fur - Latn Friulian|fuv ff Latn Fula
gla gd Latn Scottish Gaelic|gle ga Latn Irish|glg gl Latn Galician|grn gn Latn Guarani
guj gu Gujr Gujarati|hat ht Latn Haitian Creole|hau ha Latn Hausa|heb he Hebr Hebrew
hin hi Deva Hindi|hrv hr Latn Croatian|hsb - Latn Upper Sorbian|hun hu Latn Hungarian
hye hy Armn Armenian|ibo ig Latn Igbo|ilo - Latn Ilocano
ind id Latn Indonesian|isl is Latn Icelandic
ita it Latn Italian|jav jv Latn Javanese|jpn ja Jpan Japanese|kan kn Knda Kannada
kat ka Geor Georgian|kaz kk Cyrl Kazakh|khk mn Cyrl Mongolian
khm km Khmr Khmer|kin rw Latn Kinyarwanda
kir ky Cyrl Kyrgyz|kmr ku Latn Northern Kurdish|kor ko Hang Korean|lao lo Laoo Lao
lin ln Latn Lingala|lit lt Latn Lithuanian|ltz lb Latn Luxembourgish|lug lg Latn Luganda
lvs lv Latn Latvian|mal ml Mlym Malayalam|mar mr Deva Marathi|mkd mk Cyrl Macedonian
mlt mt Latn Maltese|mri mi Latn Maori|mya my Mymr Burmese|nld nl Latn Dutch
nno nn Latn Norwegian Nynorsk|nob nb Latn Norwegian Bokmål|npi ne Deva Nepali
nso - Latn Northern Sotho|nya ny Latn Nyanja|oci oc Latn Occitan|gaz om Latn Oromo
ory or Orya Odia|pan pa Guru Punjabi|pbt ps Arab Pashto|pes fa Arab Persian
plt mg Latn Malagasy|pol pl Latn Polish|por pt Latn Portuguese|quy qu Latn Quechua
ron ro Latn Romanian|rus ru Cyrl Russian|san sa Deva Sanskrit|sin si Sinh Sinhala
slk sk Latn Slovak|slv sl Latn Slovenian|sna sn Latn Shona|snd sd Arab Sindhi
som so Latn Somali|sot st Latn Southern Sotho|spa es Latn Spanish|als sq Latn Albanian
srd sc Latn Sardinian|srp sr Cyrl Serbian|ssw ss Latn Swati
sun su Latn Sundanese|swe sv Latn Swedish
swh sw Latn Swahili|tam ta Taml Tamil|tat tt Cyrl Tatar|tel te Telu Telugu
tgk tg Cyrl Tajik|tgl tl Latn Tagalog|tha th Thai Thai|tir ti Ethi Tigrinya
tsn tn Latn Tswana|tso ts Latn Tsonga|tuk tk Latn Turkmen|tur tr Latn Turkish
twi tw Latn Twi|uig ug Arab Uyghur|ukr uk Cyrl Ukrainian|urd ur Arab Urdu
uzn uz Latn Uzbek|vie vi Latn Vietnamese|wol wo Latn Wolof|xho xh Latn Xhosa
ydd yi Hebr Yiddish|yor yo Latn Yoruba|zho zh Hans Chinese|zsm ms Latn Malay|zul zu Latn Zulu
ace - Latn Acehnese|acm - Arab Mesopotamian Arabic|acq - Arab Taʽizzi-Adeni Arabic
aeb - Arab Tunisian Arabic|ajp - Arab South Levantine Arabic|aka ak Latn Akan
apc - Arab North Levantine Arabic|ars - Arab Najdi Arabic|ary - Arab Moroccan Arabic
arz - Arab Egyptian Arabic|awa - Deva Awadhi|ayr ay Latn Central Aymara
azb - Arab South Azerbaijani|ban - Latn Balinese|bho - Deva Bhojpuri|bjn - Latn Banjar
bod bo Tibt Tibetan|bug - Latn Buginese|cjk - Latn Chokwe|ckb - Arab Central Kurdish
crh - Latn Crimean Tatar|dik - Latn Southwestern Dinka|dyu - Latn Dyula|fij fj Latn Fijian
fon - Latn Fon|hne - Deva Chhattisgarhi|kab - Latn Kabyle|kac - Latn Jingpho|kam - Latn Kamba
kas ks Arab Kashmiri|kbp - Latn Kabiyè|kea - Latn Kabuverdianu|kik ki Latn Kikuyu
kmb - Latn Kimbundu|knc kr Latn Central Kanuri|kon kg Latn Kikongo|lij - Latn Ligurian
lim li Latn Limburgish|lmo - Latn Lombard|ltg - Latn Latgalian|lua - Latn Luba-Kasai
luo - Latn Luo|lus - Latn Mizo|mag - Deva Magahi|mai - Deva Maithili|min - Latn Minangkabau
mni - Beng Meitei|mos - Latn Mossi|nus - Latn Nuer|pag - Latn Pangasinan|pap - Latn Papiamento
prs - Arab Dari|run rn Latn Rundi|sag sg Latn Sango|sat - Olck Santali|scn - Latn Sicilian
shn - Mymr Shan|smo sm Latn Samoan|szl - Latn Silesian|taq - Latn Tamasheq|tpi - Latn Tok Pisin
tum - Latn Tumbuka|tzm - Tfng Central Atlas Tamazight|umb - Latn Umbundu|vec - Latn Venetian
war - Latn Waray|yue - Hant Yue Chinese
"""

# Codes in use beside those of FLORES-200: macrolanguages and older forms.
_ALIASES = {
    "ara": "arb", "aze": "azj", "lav": "lvs", "msa": "zsm", "nor": "nob", "no": "nob",
    "orm": "gaz", "fas": "pes", "per": "pes", "pus": "pbt", "sqi": "als", "swa": "swh",
    "uzb": "uzn", "yid": "ydd", "kur": "kmr", "nep": "npi", "mlg": "plt", "que": "quy",
    "cmn": "zho", "iw": "heb", "ori": "ory", "mon": "khk", "ful": "fuv", "aym": "ayr", "kau": "knc",
}  # fmt: skip

# The languages of mBART-50 and of M2M-100, by these models' own codes.
_MBART50 = """
af_ZA ar_AR az_AZ bn_IN cs_CZ de_DE en_XX es_XX et_EE fa_IR fi_FI fr_XX gl_ES gu_IN he_IL hi_IN
hr_HR id_ID it_IT ja_XX ka_GE kk_KZ km_KH ko_KR lt_LT lv_LV mk_MK ml_IN mn_MN mr_IN my_MM ne_NP
nl_XX pl_PL ps_AF pt_XX ro_RO ru_RU si_LK sl_SI sv_SE sw_KE ta_IN te_IN th_TH tl_XX tr_TR uk_UA
ur_PK vi_VN xh_ZA zh_CN
"""
# Where it is not the two-letter code, or that of ISO 639-3 if there is none.
_M2M100 = {"nso": "ns", "nob": "no"}

# Scripts of no language above, by ISO 15924.
_RARE_SCRIPTS = "Adlm Cans Cher Cham Java Kali Lepc Lisu Mong Mtei Nkoo Syrc Thaa Vaii Yiii"
_WITHOUT_SPACES = {"Hans", "Hant", "Jpan", "Thai", "Laoo", "Khmr", "Mymr", "Tibt"}
_SACREBLEU_TOKENIZERS = {"zho": "zh", "yue": "zh", "jpn": "ja-mecab", "kor": "ko-mecab"}
_TAG = re.compile(r"([a-z]{2,3})(?:[-_]([a-z]{4}))?(?:[-_]([a-z]{2}|[0-9]{3}))?", re.IGNORECASE)


@dataclass(frozen=True)
class Language:
    """A language in one script, as the code that named it says."""

    iso3: str
    iso1: str | None
    script: str
    region: str | None
    name: str

    @property
    def flores(self) -> str:
        """The code of FLORES-200 and NLLB, such as `zho_Hans`."""
        return f"{self.iso3}_{self.script}"

    @property
    def moses(self) -> str:
        """The two-letter code that Moses' and sacremoses' tools expect, else the ISO 639-3 one."""
        return self.iso1 or self.iso3

    @property
    def bcp47(self) -> str:
        """The BCP 47 tag, such as `pt-BR`; the script is left out where it is the usual one."""
        script = "" if self.script == _script(self.iso3) else f"-{self.script}"
        return self.moses + script + (f"-{self.region}" if self.region else "")

    @property
    def has_spaces(self) -> bool:
        """Whether its words are written with spaces between them."""
        return self.script not in _WITHOUT_SPACES

    @property
    def sacrebleu_tokenizer(self) -> str:
        """SacreBLEU's tokeniser for text in this language."""
        return _SACREBLEU_TOKENIZERS.get(self.iso3, "13a")


def _script(iso3: str) -> str | None:
    known = _by_code().get(iso3)
    return known.script if known else None


@cache
def _scripts() -> set[str]:
    return {language.script for language in _by_code().values()} | {*_RARE_SCRIPTS.split()}


@cache
def _by_code() -> dict[str, Language]:
    table = {}
    for entry in _TABLE.strip().replace("\n", "|").split("|"):
        iso3, iso1, script, name = entry.split(" ", 3)
        language = Language(iso3, None if iso1 == "-" else iso1, script, None, name)
        table[iso3] = language
        if language.iso1:
            table[language.iso1] = language
    table.update({alias: table[code] for alias, code in _ALIASES.items()})
    return table


def all_languages() -> list[Language]:
    """Every language of the table, once."""
    return sorted(set(_by_code().values()), key=lambda language: language.iso3)


def find(code: str) -> Language:
    """The language that an ISO 639-1/-3, BCP 47 or FLORES code names, in any letter case.

    A language that the table does not have is named with its script, as ach_Latn. Raises
    RecipeError, with the nearest known codes and names, for any other text.
    """
    match = _TAG.fullmatch(code)
    known = _by_code()
    base = known.get(match[1].lower()) if match else None
    if match and base is None and len(match[1]) == 3 and match[2]:
        iso3, script = match[1].lower(), match[2].title()
        base = Language(iso3, None, script, None, f"{iso3}_{script}")
    # A typing error in a script would be another language without rules.
    if base is None or match is None or (match[2] and match[2].title() not in _scripts()):
        names = {
            language.name.lower(): language.iso1 or language.iso3 for language in known.values()
        }
        near = [names[name] for name in difflib.get_close_matches(code.lower(), names, 2, 0.75)]
        near += difflib.get_close_matches(code.lower()[:3], known, 3, 0.5)
        listed = ", ".join(f"{c} ({known[c].name})" for c in dict.fromkeys(near))
        hint = f"did you mean {listed}?" if listed else "use an ISO 639 code such as es or spa"
        if match:
            hint += " (one that is not in our table goes by its code and script, as ach_Latn)"
        raise RecipeError(f"unknown language code {code!r}; {hint}")
    script = match[2].title() if match[2] else base.script
    region = match[3].upper() if match[3] else None
    if base.iso3 == "zho" and not match[2] and region in ("TW", "HK", "MO"):
        script = "Hant"
    return Language(base.iso3, base.iso1, script, region, base.name)


def mbart50(language: Language) -> str:
    """MBART-50's token for a language, such as `gl_ES`; if it has none, what it would look like."""
    known = {code[:2]: code for code in _MBART50.split()}
    code = _usual(language)
    return known.get(code, f"{code}_XX")


def m2m100(language: Language) -> str:
    """M2M-100's code for a language, such as `gl`, whether or not it has it."""
    return _M2M100.get(language.iso3, _usual(language))


def _usual(language: Language) -> str:
    """Its short code; in another script than the usual one it is none that these models know."""
    usual = language.script == (_script(language.iso3) or language.script)
    return language.moses if usual else f"{language.moses}-{language.script}"
