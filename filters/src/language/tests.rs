//! Traces by the reason for which they go, beside those that look alike and stay.

use super::*;

/// English reasoning of several paragraphs, long enough to tell.
const ENGLISH: &str = "Okay, so I need to find the number of ways in which the students can be seated around the table. Let me \
start by counting the arrangements of all of them, and then take away those in which two friends are neighbours.\n\n\
If the two friends are treated as one person, there are fewer people to arrange, and the two of them can change places. \
That gives twice as many arrangements as before, which I subtract from the total.\n\nSo the answer follows from there.";

/// Chinese reasoning.
const CHINESE: &str = "好的，我们需要计算学生围坐在圆桌旁的方法数。首先考虑所有人的排列，然后减去两个朋友相邻的情况。\n\n\
如果把这两个朋友看成一个人，那么需要排列的人数就少了一个，而且他们两个人可以交换位置。因此相邻的情况要乘以二，最后用总数减去这个数就得到答案。";

/// French reasoning.
const FRENCH: &str = "D'accord, je dois trouver le nombre de façons de placer les élèves autour de la table. Je commence par \
compter toutes les dispositions possibles, puis je retire celles où les deux amis sont voisins.\n\n\
Si les deux amis sont considérés comme une seule personne, il reste moins de personnes à placer, et ils peuvent échanger \
leurs places entre eux. Cela donne deux fois plus de dispositions, que je soustrais du total.";

const GERMAN: &str = "Wenn die beiden Freunde als eine einzige Person betrachtet werden, dann bleiben weniger Personen übrig, \
die man anordnen muss, und die beiden können ihre Plätze miteinander tauschen.";

const ASKED: &str = "In how many ways can the students be seated around a table so that the two friends are not neighbours? \
Please reason step by step, and put your final answer within \\boxed{}.";

const ASKED_IN_CHINESE: &str =
    "学生围坐在圆桌旁，要求两个朋友不能相邻，一共有多少种不同的坐法？请把最终答案写在\\boxed{}里。";

const ASKED_IN_FRENCH: &str = "De combien de façons peut-on placer les élèves autour de la table ronde, si les deux amis ne \
doivent pas être voisins ? Justifiez chaque étape de votre raisonnement.";

fn measured(question: &str, turn: &str) -> Spoken {
    spoken(&Said::whole(turn), &Asked::question(question, "math"))
}

fn check_all(config: &LanguageConfig, cases: &[(&str, &str, String, &str)]) {
    for (name, question, reasoning, expected) in cases {
        let turn = format!("<think>\n{reasoning}\n</think>\n\n\\boxed{{12}}");
        let found = measured(question, &turn);
        assert_eq!(config.reason(&found).unwrap_or_default(), *expected, "{name}: {found:?}");
    }
}

#[test]
fn a_second_script_is_mixed_in() {
    let with = |text: &str| format!("{ENGLISH}\n\n{text}\n\n{ENGLISH}");
    let long = |text: &str| format!("{}{text}", ENGLISH.repeat(40));
    let mixed = "mixed-scripts";
    let cases = [
        ("a Chinese sentence", ASKED, with("所以我们需要先计算总的排列数。"), mixed),
        ("one in a long trace", ASKED, long(" 嗯，让我再检查一下这个结果。"), mixed),
        ("one around a formula", ASKED, with("所以我们得到 $x = 3$ 然后继续计算"), mixed),
        ("one in the midst of a line", ASKED, with("So we get 这个方程有两个不同的解 and go on."), mixed),
        ("a bold one", ASKED, with("**因此答案是十二种坐法**"), mixed),
        ("a Japanese one", ASKED, with("まず全員の並べ方を数えましょう。"), mixed),
        (
            "a Russian one",
            ASKED,
            with("Теперь нужно вычесть все случаи, когда друзья сидят рядом друг с другом."),
            mixed,
        ),
        ("a Korean one", ASKED, with("먼저 모든 학생의 배열을 세어 봅시다."), mixed),
        ("an Arabic one", ASKED, with("الآن نحسب عدد الطرق التي يمكن بها ترتيب الطلاب حول الطاولة"), mixed),
        (
            "a word here and there, all over",
            ASKED,
            "The 结果 here is that all of them have to be added again. ".repeat(30),
            mixed,
        ),
        ("English sentences in Chinese", ASKED_IN_CHINESE, format!("{CHINESE}\n\n{GERMAN}"), mixed),
        ("a quoted Chinese word", ASKED, with("The word “朋友” means friend."), ""),
        ("a term in brackets", ASKED, with("By the Chinese remainder theorem (中国剩余定理) this holds."), ""),
        ("a name", ASKED, with("This is due to Hua Luogeng 华罗庚 and Чебышёв."), ""),
        ("a quoted verse", ASKED, with("It reads “今有物不知其数，三三数之剩二，五五数之剩三”, they say."), ""),
        (
            "a problem about Chinese characters",
            "How many strokes does 愛 have?",
            with("愛的笔画数是十三画，我数一下。"),
            "",
        ),
        ("a translation", "Translate \"good morning\" into Chinese.", with("早上好是最常见的说法，也可以说早安。"), ""),
        ("Greek letters", ASKED, with("Let α + β = γ, so Δx = λμ and Σ over θ, φ, ψ."), ""),
        (
            "Cyrillic names of variables",
            ASKED,
            with("Let Ш be the number of balls, and масса = 3, so масса doubles."),
            "",
        ),
        ("full-width punctuation", ASKED, with("So we get this，and then。（See above）：done！"), ""),
        ("Chinese in a formula", ASKED, with("$\\text{所以我们需要先计算总的排列数}$"), ""),
        ("Chinese in a block of code", ASKED, with("```\n# 所以我们需要先计算总的排列数\n```"), ""),
        ("Chinese in an address", ASKED, with("See https://a.org/所以我们 there."), ""),
        ("letters of mathematics", ASKED, with("x ∈ ℝ, 𝒜 ⊂ ℬ, ∀ε > 0"), ""),
        (
            "English terms in Chinese",
            ASKED_IN_CHINESE,
            format!("{CHINESE}用 cos 和 sin 来算，三角形 ABC 的边 AB，用 Python 也行。"),
            "",
        ),
        ("Chinese throughout", ASKED_IN_CHINESE, CHINESE.to_owned(), ""),
        (
            "Japanese with its Han",
            "学生を円卓のまわりに座らせる方法は何通りありますか。",
            "まず全員の並べ方を数えます。総数から隣り合う場合の数を引けば答えになります。".to_owned(),
            "",
        ),
    ];
    check_all(&LanguageConfig::default(), &cases);
    let off = LanguageConfig { mixed_scripts: false, ..LanguageConfig::default() };
    assert_eq!(off.reason(&measured(ASKED, &with("所以我们需要先计算总的排列数。"))), None);
}

#[test]
fn a_paragraph_in_another_language_is_mixed_in() {
    let with = |text: &str| format!("{ENGLISH}\n\n{text}\n\n{ENGLISH}");
    let paragraph = FRENCH.split("\n\n").next().expect("a paragraph");
    let mixed = "mixed-languages";
    let in_both = format!("{ASKED}\n\n{ASKED_IN_FRENCH}");
    let cases = [
        ("a French paragraph", ASKED, with(paragraph), mixed),
        ("a German one", ASKED, with(GERMAN), mixed),
        (
            "a Spanish one",
            ASKED,
            with(
                "Ahora tenemos que restar todos los casos en los que los dos amigos están sentados uno al lado del otro en la mesa redonda.",
            ),
            mixed,
        ),
        (
            "an Italian one with formulas",
            ASKED,
            with(
                "Adesso dobbiamo sottrarre $2 \\cdot 5!$ dal totale, perché i due amici possono scambiarsi di posto in ogni disposizione possibile.",
            ),
            mixed,
        ),
        (
            "one within a long paragraph",
            ASKED,
            with(&format!(
                "{} {} {}",
                "We count all of the seatings again, one by one, and carefully. ".repeat(14),
                FRENCH.replace("\n\n", " "),
                "And then we are done with the count. ".repeat(14)
            )),
            mixed,
        ),
        ("an English one in French", ASKED_IN_FRENCH, format!("{FRENCH}\n\n{FRENCH}\n\n{}", &ENGLISH[..200]), mixed),
        ("a French sentence", ASKED, with("C'est la vie, n'est-ce pas ?"), ""),
        ("a quoted paragraph", ASKED, with(&format!("« {paragraph} »")), ""),
        ("a quoted block", ASKED, with(&format!("> {paragraph}")), ""),
        (
            "a translation",
            "Translate the following into French: I have to find the number of ways.",
            with(paragraph),
            "",
        ),
        ("a problem that is in two languages", in_both.as_str(), with(paragraph), ""),
        (
            "names",
            ASKED,
            with("Euler, Gauß, Lagrange, Poincaré, Dirichlet, Weierstraß, Möbius and L'Hôpital all knew of this."),
            "",
        ),
        (
            "formulas alone",
            ASKED,
            with("a = b + c, d = e * f; so sin(x) + cos(y) = tan(z), ln(u) = 3, and abc = bca, xyz = zyx"),
            "",
        ),
    ];
    check_all(&LanguageConfig::default(), &cases);
    let lax = LanguageConfig { paragraph_letters: 1000, ..LanguageConfig::default() };
    assert_eq!(lax.reason(&measured(ASKED, &with(paragraph))), None, "a threshold");
}

#[test]
fn the_reasoning_is_in_the_problems_language() {
    let other = "other-language-than-asked";
    let instructed = format!("{ASKED_IN_CHINESE} Please reason step by step.");
    let in_french = format!("{ASKED} Answer in French.");
    let in_chinese = format!("{ASKED} 请用中文回答。");
    let cases = [
        ("Chinese for English", ASKED, CHINESE.to_owned(), other),
        ("English for Chinese", ASKED_IN_CHINESE, ENGLISH.to_owned(), other),
        ("French for English", ASKED, FRENCH.to_owned(), other),
        ("English for French", ASKED_IN_FRENCH, ENGLISH.to_owned(), other),
        (
            "English for Russian",
            "Сколькими способами можно рассадить учеников за круглым столом, чтобы друзья не были рядом?",
            ENGLISH.to_owned(),
            other,
        ),
        ("English for Chinese with instructions", instructed.as_str(), ENGLISH.to_owned(), other),
        ("English", ASKED, ENGLISH.to_owned(), ""),
        ("French", ASKED_IN_FRENCH, FRENCH.to_owned(), ""),
        ("Chinese", ASKED_IN_CHINESE, CHINESE.to_owned(), ""),
        ("a question of a formula", "$x^2 = 4$", ENGLISH.to_owned(), ""),
        ("a short question", "Combien ?", ENGLISH.to_owned(), ""),
        ("a short reasoning", ASKED, "好的。".to_owned(), ""),
        ("an answer in French that was asked for", in_french.as_str(), FRENCH.to_owned(), ""),
        ("a reasoning in Chinese that was asked for", in_chinese.as_str(), CHINESE.to_owned(), ""),
    ];
    check_all(&LanguageConfig::default(), &cases);
    let off = LanguageConfig { as_asked: false, ..LanguageConfig::default() };
    assert_eq!(off.reason(&measured(ASKED, FRENCH)), None);
}

#[test]
fn evidence_is_where_it_says() {
    let turn = format!("<think>\n{ENGLISH}\n</think>\n\n所以最终的答案是十二种。\n\n{FRENCH}");
    let found = measured(ASKED, &turn);
    let chinese = found.scripts.iter().find(|written| written.script == Script::Han).expect("Chinese");
    let span = chinese.evidence.start as usize..chinese.evidence.end as usize;
    assert_eq!((&turn[span], chinese.evidence.excerpt.as_str()), ("所以最终的答案是十二种", "所以最终的答案是十二种"));
    let french = found.languages.iter().find(|told| told.language == "fra").expect("French");
    assert!(turn[french.evidence.start as usize..].starts_with(&french.evidence.excerpt), "{french:?}");
    assert_eq!((found.script, found.language.as_deref()), (Some(Script::Latin), Some("eng")), "the reasoning's");
    let open = measured(ASKED, &format!("<think>\n{ENGLISH}\n\n所以我们需要先计算总的排列数"));
    assert_eq!(
        LanguageConfig::default().reason(&open),
        Some("mixed-scripts"),
        "reasoning that is cut off is looked at"
    );
}

#[test]
fn thresholds_measure_nothing_again_and_have_ranges() {
    let strict = LanguageConfig { max_share: 0.01, sentence_words: 3, ..LanguageConfig::default() };
    assert_eq!(strict.keyed(), LanguageConfig::default().keyed());
    assert_ne!(strict.settings(), LanguageConfig::default().settings());
    assert_eq!(LanguageConfig::default().check(), Ok(()));
    for (wrong, name) in [
        (LanguageConfig { max_share: 0.0, ..LanguageConfig::default() }, "max-share"),
        (LanguageConfig { max_share: f64::NAN, ..LanguageConfig::default() }, "max-share"),
        (LanguageConfig { sentence_words: 0, ..LanguageConfig::default() }, "sentence-words"),
        (LanguageConfig { paragraph_letters: 79, ..LanguageConfig::default() }, "paragraph-letters"),
    ] {
        assert!(wrong.check().expect_err(name).contains(name));
    }
}

#[test]
fn hostile_text_is_measured_in_linear_time() {
    for unit in
        ["a", "我", "é ", "\u{3000}", "\n", "\"我\" ", "a我", "ﷺ", "\u{300}", "Ω\u{10FFFF}", "> \"a\n\n", "中 \" "]
    {
        let turn = unit.repeat(400_000 / unit.len());
        let found = measured("?", &turn);
        assert_eq!(found.asked_script, None, "{unit:?}");
    }
}
