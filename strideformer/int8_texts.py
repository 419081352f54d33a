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
    # An argument in court.
    "CHIEF JUSTICE: We'll hear argument this morning in Number 12-345, Harbor Commission versus Delgado. Ms. "
    "Whitfield.\nMS. WHITFIELD: Mr. Chief Justice, and may it please the Court: The Fourth Amendment doesn't "
    "require an officer to close his eyes to what is in plain view. The court of appeals held otherwise because, "
    "in its judgment, the trunk was a separate container; but that can't be squared with this Court's precedents, "
    "and the Government doesn't defend it.\nJUSTICE: Suppose the trunk had been locked. Would you say the same "
    "thing? I mean, what if there's no probable cause until he opens it?\nMS. WHITFIELD: That would be a harder "
    "case, Justice, but I think the answer is yes, so long as the warrant was issued before the search. The "
    "petitioner was indicted on two counts, conspiracy and possession, and the jury acquitted on the first.\n"
    "JUSTICE: Well, the jury was never asked that. Look at page 31a of the appendix. The instruction says nothing "
    "about tax liability, the union's pension fund, or anything Congress may have intended in the Act.",
    # An opinion of a court.
    "The judgment of the District Court is reversed. Plaintiffs, four employees of a railroad, brought this action "
    "under 42 U.S.C. § 1983, alleging that the city had denied them due process and equal protection of the laws. "
    "See Marlow v. Hatch, 512 U.S. 218, 224-226 (1994); cf. id., at 231 (concurring opinion). We review such "
    "questions de novo. Whether a State may tax the income of a corporation that does no business within its "
    "borders turns on the Commerce Clause, and not, as respondents contend, upon the doctrine of sovereign "
    "immunity. The writ of habeas corpus was properly denied.",
    # A method, with formulas.
    "2 Related Work. Graph neural networks aggregate messages from the neighbours of each node [3, 17, 22]. Let $G "
    "= (V, E)$ be an undirected graph and $x_v \\in \\mathbb{R}^d$ the features of $v \\in V$. We define "
    "$h_v^{(k+1)} = \\sigma(W_k \\sum_{u \\in N(v)} h_u^{(k)} / |N(v)|)$. Theorem 1. If $W_k$ is non-expansive for "
    "all $k$, the map has a unique fixed point. Proof. By induction on k; the base case is trivial. Table 3 shows "
    "F1 on CIFAR-10, ImageNet and three protein datasets: ours 93.1, the baseline 91.8. Galaxies at redshift z > 6 "
    "were selected by their colours; the spectra were reduced with the standard pipeline and calibrated against "
    "quasars.",
    # A protocol.
    "5.2.1. Session Establishment. A client initiates a session by sending an INVITE request to the server. If the "
    "server does not support the extension, it SHOULD return a 420 (Bad Extension) response and MUST list the "
    "option tag in the Unsupported header field. The label switched path is torn down when the hold timer expires; "
    "routers that receive an update with an unknown attribute MUST forward it unchanged with the Partial bit set. "
    'DNSSEC validators treat such a zone as insecure. IANA is requested to assign a new code point from the "DHCP '
    'Options" registry. The key is derived with HMAC-SHA-256 over the nonce; IPv6 prefixes longer than /64 are '
    "not advertised. mibObject OBJECT-TYPE SYNTAX Counter32 MAX-ACCESS read-only STATUS current DESCRIPTION "
    '"Octets received." ::= { ifEntry 10 }',
    # A record of a patient, and a leaflet.
    "Chief complaint: chest pain x 2 days. 67 y/o male, s/p CABG 2011, HTN, DM2, presents with substernal pressure "
    "radiating to left arm, relieved by rest. BP 148/92, HR 88, SpO2 97% RA. EKG: NSR, no ST changes. Trop neg x2. "
    "Plan: admit, tele, ASA 81 mg daily, hold metformin. Do not take this medicine if you are allergic to "
    "penicillin. Vaccines do not cause the disease that they prevent, whatever you may have read online; the claim "
    "that the mayor banned them is false.",
    # A call about earnings, and a policy.
    "Operator: Our next question comes from the line of Daniel Ortiz. Please go ahead. Analyst: Thanks, and "
    "congrats on the quarter. Could you give us some colour on gross margin in the second half, and what's "
    "embedded in the guide for free cash flow? CFO: Sure. So we're pleased with the momentum in cloud "
    "subscriptions; churn was down 40 basis points sequentially. We may collect your name, e-mail address, IP "
    "address and cookies, and share them with third parties who process them on our behalf. You may opt out at any "
    "time under Section 4. The lessee shall indemnify and hold harmless the lessor from any and all claims.",
    # A story, and opinions of one.
    'The old man put down his cup and looked out at the rain. "You won\'t find her there," he said. "Nobody '
    "does.\" She had left in March, when the river was still frozen, with one suitcase and somebody else's coat. "
    "Directed with a sure hand and shot in gorgeous black and white, the film loses its nerve in the last reel, "
    "where a script that had been witty turns to mush; the performances (Moreau above all) deserve better. Not a "
    "bad little thriller, if you can forgive the plot holes, the wooden dialogue and an ending that makes no sense "
    "whatsoever. Funny? Hardly ever. But what a villain!",
    # A thread.
    "From: kjs@somewhere.edu (K. J. Stone)\nSubject: Re: Windows 3.1 swap file problem\nNntp-Posting-Host: "
    "pluto\n\nmark writes:\n>> My Mac IIsi won't boot with 17 megs of RAM.\n> Try pulling the second SIMM.\nDid "
    "that; no luck. FOR SALE: '87 Honda CBR 600, 21k miles, new tires, $1,900 obo. The encryption chip is a "
    "backdoor, plain and simple: give the FBI the keys and there goes your privacy. As for guns, the second "
    "amendment says what it says. Turkey denies it; Israel says otherwise. X11R5, Motif, xterm -fn 9x15; the "
    'driver dumps core. Anyone know a good book on Christian ethics, or on orbits? --\nKJS "my opinions, not my '
    "employer's\"",
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
