"""Texts on which tokenizers are apt to differ, tried before a fast one is used."""

from __future__ import annotations

PROBES = (
    "",
    " ",
    "\n\r\n\t \v\f\x1c\x1d\x1e\x1f\x85\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000",
    "\x00a\x00b\x7fc\x80d\ufffde\ufefff\u200bg\u200ch\u200di\u2060j\u00adk \u00ad \ufeff",
    "a\u0301e\u0301\u0302\u0303 \u0301x \u0344 o\u0308\u0323 o\u0323\u0308 \u1e69 s\u0323\u0307 s\u0307\u0323",
    "Stra\u00dfe STRASSE \u1e9e \u0130stanbul I\u0307 \u0131 \u01c5 \u01f0 \ufb01 \ufb03 \u2126 \u212a \u212b",
    "ΟΔΥΣΣΕΥΣ ΣΑΣ ΑΣ. Σ ΑΣ' ΑΣ\u0301 ΑΣ\u200b Σα ᾼ ῼ ᾀ ΐ",
    "Документ ДЛИННЫЙ Й й Ё ё И\u0306 и\u0306 Ї ї Ѐ",
    "東京都は日本の首都です。北京是中国的首都。㐀𠀀𪜀\uf900\U0002f800 a東b 1北2 「引用」、・ー〜",
    "서울은 대한민국의 수도이다. 각 가\u11a8 \u1100\u1161\u11a8 \u1100\u1161 ㄱㅏ \ud7ff \ud7a3 \uac00",
    "ประเทศไทย สวัสดี ที่นี่ น้ำ हिन्दी क्षेत्र ज़ \u095b বাংলা தமிழ் తెలుగు",
    "العربية ـ مُحَمَّد \u0622 \u0627\u0653 עִבְרִית שׁ \ufb2a ۱۲۳ ٤٥٦",
    "😀 👍🏽 👨\u200d👩\u200d👧 🇩🇪 ❤\ufe0f 1\ufe0f\u20e3 ☎ ♂ ✓ ★ \U0001fae0 \U0001f9ff",
    "𝐛𝐨𝐥𝐝 𝒜 ＦＵＬＬ ｗｉｄｔｈ ① ½ x² H₂O № ™ © ® ª º",  # noqa: RUF001
    "\ue000 \uf8ff \U000f0000 \ufdd0 \uffff \U0010ffff \u0378 \u05ff \u2fe0",
    "!!!??? ... -- --- ___ *** '' `` \"\" (( )) [[ ]] {{ }} << >> // \\\\ || && ## ## ##a a## #b ~ ^ $5 €5 £5 ¥5",
    "– — ― ‘q’ “q” „q“ ‚q‘ «q» ‹q› … • · ¶ § † ‡ ‰ ′ ″ ※ ⁂ − × ÷ ≤ ≠ → ⇒ ∑ √ ∞",  # noqa: RUF001
    "don't can't it's O'Neil rock'n'roll 'tis y'all e.g. i.e. U.S.A. a.m. Ph.D. Mr. Smith-Jones and/or",
    "0 1 12 123 1234 12345 1,234,567.89 1.5e-10 0x1F 192.168.0.1 2001:db8::1 12:34:56 50% #1 1st 2nd",
    "http://www.example.com/a?b=c&d=e#f user@example.org C:\\dir\\file.txt foo_bar fooBar FOO-bar a+b=c",
    "[cls] [unused1] [ CLS ] [CLS [SEP [unk] <s> </s> <mask> <pad> <|endoftext|> ▁the Ġthe the@@ ##ing",
    "[CLS] a [SEP] b[MASK]c [PAD][PAD] [UNK]",
    "supercalifragilisticexpialidocious antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "a" * 5_000,
    "ab" * 2_000 + " " + "é" * 200 + " " + "\u0301" * 300 + "x",
    "x\u0301" * 100 + " " + "x\u0301" * 101 + " " + "\u0301x" * 50,
    "the " * 3_000,
    "a b c d e f g h i j k l m n o p q r s t u v w x y z " * 300,
    " " * 10_000 + "end",
    "." * 5_000,
    "word\n" * 2_000 + "é " + "word\t" * 2_000,
)
