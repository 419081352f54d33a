"""Texts of many kinds, written for this package, on which the ranges of an int8 encoder's values are seen."""

from __future__ import annotations

# ruff: noqa: RUF001
TEXTS = (
    # Hardly any.
    "",
    "Yes.",
    "No, thank you.",
    # A report.
    "The committee met on Tuesday to review the findings of the second survey. Of the 1,284 households that were "
    "asked, 71 % had answered, which is more than in any year since 1998. Rents rose by 4.2 % in the towns along "
    "the coast and fell slightly inland. Whether this is because fewer people move there, or because so much was "
    "built in the past decade, the figures do not say. The authors recommend that the survey be repeated in the "
    "spring, with questions on heating costs added, and that its raw data be published without names and addresses.",
    # A contract.
    "7.2 Termination. Either party may terminate this Agreement upon thirty (30) days' prior written notice if the "
    "other party materially breaches any of its obligations hereunder and fails to cure such breach within that "
    "period. Sections 3, 5.1(b) and 9 shall survive. 7.3 IN NO EVENT SHALL THE SUPPLIER BE LIABLE FOR ANY "
    "INDIRECT, INCIDENTAL OR CONSEQUENTIAL DAMAGES ARISING OUT OF OR IN CONNECTION WITH THE SERVICES, EVEN IF "
    "ADVISED OF THE POSSIBILITY THEREOF. 8.1 This Agreement is governed by the laws of the place where the "
    "Supplier is registered.",
    # A transcript.
    "COUNSEL: So is it your position, then, that the statute doesn't apply to anyone who never signed the form?\n"
    "WITNESS: Well, no -- no, Your Honor. I mean, it applies, but -- \nCOURT: But what? That's the question, isn't "
    "it?\nWITNESS: I think what we said at page 14 of the reply brief is that the agency has, uh, discretion.\n"
    'COURT: Discretion to do what? To read the word "shall" as "may"? (Laughter.) Go on, please.\n',
    # A paper.
    "Abstract. We study the convergence of stochastic gradient methods on non-convex objectives with heavy-tailed "
    "noise. For step sizes that decay as O(1/sqrt(t)), we prove that the expected squared norm of the gradient "
    "falls below epsilon within O(epsilon^{-2} log(1/delta)) iterations with probability 1 - delta, and give a "
    "matching lower bound. In vitro, cells treated with 5 µM of the inhibitor for 48 h showed reduced "
    "phosphorylation of the receptor (p < 0.01, n = 6), while mRNA levels of the three downstream genes remained "
    "unchanged (Fig. 2B).",
    # A review and a letter.
    "I really wanted to love this movie!!! The first half hour is gorgeous, funny and a bit sad, and then... "
    "nothing. Two people argue in a kitchen. She cries; he leaves; it rains. My husband fell asleep, and I can't "
    "blame him. 3/10, and that's only for the dog. Dear Sir or Madam, my parcel has still not arrived, although "
    "your website says that it was delivered last Friday at 9:41 am. Could you please look into it, or refund the "
    "59.90 that I've paid? Thanks!",
    # A standard, with code and numbers.
    "3.1. Header Format\n\n    0                   1\n    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5\n   "
    "+-+-+-+-+-+-+-+-+-+-+-+-+-+\n   |Version| Type  |   Length    |\n   +-+-+-+-+-+-+-+-+-+-+-+-+-+\n\n   A "
    "receiver MUST silently discard any packet whose Version field is not 2. See [RFC-EXAMPLE], Section 4.\n\nfor "
    "(int i = 0; i < n; i++) { sum += a[i] * b[i]; }\ndef load(path: str) -> dict[str, Any]:\n    return {k: v for "
    "k, v in json.load(open(path)).items() if v is not None}\n2024-03-01T12:00:05Z ERROR [worker-7] connection to "
    "10.0.0.12:5432 refused (errno=111), retrying in 30 s\n",
    # A filing, a table, a list.
    "Item 7. Net revenues were $3,412.6 million, compared with $3,127.9 million in the prior year, an increase of "
    "9.1%. Cost of goods sold | 1,874.2 | 1,790.4\nGross profit | 1,538.4 | 1,337.5\nOperating margin | 18.3% | "
    "16.0%\n- flour, 250 g\n- sugar, 1 tbsp\n- eggs (2)\n* Whisk until smooth; bake at 180 °C for 25 minutes.\n"
    "name,age,city\nAda,36,London\nGrace,85,Arlington\nhttps://www.example.org/a/b?c=d&e=f#top user@example.com",
    # News, sports, religion, hardware, as in a forum.
    "> In article <1993@news> somebody writes:\n> What's the fastest SCSI controller for a 486/66 under $200?\nGet "
    "the one with the cache. The goalie was awful last night: 5 goals on 18 shots, and Toronto still won in "
    "overtime. The apostle's letter, as I read it, says nothing of the kind. NASA launched the probe at dawn; the "
    "orbit is 35,786 km up. Police in the capital said that four people were arrested after Sunday's march; the "
    "president denied it.",
    # What lies between texts.
    "1 Introduction ................................ 3\n2 Terms ....................................... 5\n"
    "1 Introduction ................................ 3\n2 Terms ....................................... 5\n"
    "------------------------------------------------------------------------\n* * * * *\n| | | | | | | | | | | |\n",
    # Other languages.
    "Der Vertrag tritt am Tag nach seiner Unterzeichnung in Kraft und gilt auf unbestimmte Zeit. Änderungen "
    "bedürfen der Schriftform. Le président a déclaré que la réforme serait présentée au Parlement avant l'été, "
    "malgré l'opposition d'une partie de la majorité. El paciente ingresó con fiebre y dolor abdominal; la "
    "tomografía no mostró lesiones.",
    "Суд рассмотрел жалобу и оставил решение без изменения. Η επιτροπή ενέκρινε την πρόταση. "
    "委员会批准了该提案，并要求在三个月内提交报告。東京の気温は三十五度を超えた。이 문서는 계약의 조건을 설명한다. "
    "قررت المحكمة رفض الدعوى. न्यायालय ने याचिका खारिज कर दी।",
)
