//! A small benchmark, and documents with what they contain of it or nothing. Half of them only look like it.

use super::super::Item;

/// A document and the reason that it has, empty where it has none.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) question: &'static str,
    pub(super) answer: Option<&'static str>,
    pub(super) reason: &'static str,
    /// The item's id.
    pub(super) item: &'static str,
    /// What kind of match the case is about.
    pub(super) of: &'static str,
}

/// The benchmark: two contests, one with answers.
pub(super) fn items() -> Vec<Item> {
    let item = |benchmark: &str, id: &str, question: &str, answer: &str| Item {
        benchmark: benchmark.into(),
        id: id.into(),
        question: question.into(),
        answer: answer.into(),
    };
    vec![
        item("contest", "walk", WALK, "204"),
        item("contest", "ages", AGES, "12"),
        item("contest", "circle", CIRCLE, "25"),
        item("contest", "boxes", BOXES, ""),
        item("contest", "short", r"Simplify $\frac{x^2-9}{x^2+7x+12}$ for all $x$ where it is defined.", "x-3"),
        item("contest", "tiny", r"Compute $\sin 60^\circ$.", ""),
        item(
            "contest",
            "chinese",
            "小明和小红一起去书店买书，小明买了三本故事书，每本18元，小红买了两本字典，每本45元，他们一共花了多少钱？",
            "",
        ),
        item("science", "spin", SPIN, EXPLANATION),
        item("science", "code", CODE, PROGRAM),
    ]
}

const WALK: &str = r"Every morning Aya goes for a $9$-kilometer-long walk and stops at a coffee shop afterwards. When she walks at a constant speed of $s$ kilometers per hour, the walk takes her 4 hours, including $t$ minutes spent in the coffee shop. When she walks $s+2$ kilometers per hour, the walk takes her 2 hours and 24 minutes, including $t$ minutes spent in the coffee shop. Find the number of minutes the walk takes her at $s+\frac{1}{2}$ kilometers per hour.";
const AGES: &str = "Five years ago a shepherd was four times as old as his apprentice. What is the sum of the ages of the shepherd and the apprentice now, if in seven years the apprentice will be half as old as the shepherd?";
const CIRCLE: &str = r"A circle with center $O$ and radius 25 is inscribed in the trapezoid $PQRS$, whose parallel sides $PQ$ and $RS$ have lengths 80 and 45. Find the distance from $O$ to the midpoint of the segment $QR$.";
pub(super) const BOXES: &str = "A warehouse stores 48 crates of lemons on 6 shelves, and each crate weighs 13 kilograms. A forklift may carry at most 100 kilograms at once. How many trips does the forklift need to empty the warehouse?";
const SPIN: &str = "Two uncoupled protons precess in a static magnetic field of 2.35 tesla while a weak oscillating field is applied at right angles. Which frequency does the oscillating field need for resonance?";
const EXPLANATION: &str = "The gyromagnetic ratio of the proton multiplied by the static field gives the Larmor frequency, and dividing the angular frequency by two pi leaves one hundred megahertz for a field of 2.35 tesla.";
const CODE: &str = "Given a string of brackets, remove the fewest characters so that the remaining string is balanced, and print the lexicographically smallest of all balanced strings that can be reached this way.";
const PROGRAM: &str = "def smallest(text):\n    best = None\n    for mask in range(1 << len(text)):\n        kept = [sign for at, sign in enumerate(text) if mask >> at & 1]\n        if balanced(kept) and better(kept, best):\n            best = kept\n    return ''.join(best)";

/// Every authored document.
pub(super) fn cases() -> Vec<Case> {
    let question = |name, question, item: &'static str| Case {
        name,
        question,
        answer: None,
        reason: if item.is_empty() { "" } else { "contaminated-question" },
        item,
        of: "contaminated-question",
    };
    let variant = |name, question, item: &'static str| Case {
        name,
        question,
        answer: None,
        reason: if item.is_empty() { "" } else { "variant" },
        item,
        of: "variant",
    };
    let answer = |name, answer, item: &'static str| Case {
        name,
        question: "Show how to solve a problem of your choice.",
        answer: Some(answer),
        reason: if item.is_empty() { "" } else { "contaminated-answer-side" },
        item,
        of: "contaminated-answer-side",
    };
    let text = |name, answer, item: &'static str| Case {
        name,
        question: "Explain something from your field.",
        answer: Some(answer),
        reason: if item.is_empty() { "" } else { "contaminated-answer-text" },
        item,
        of: "contaminated-answer-text",
    };
    vec![
        question("a copy", CIRCLE, "circle"),
        question(
            "capitals, blanks, other marks",
            r"A CIRCLE with center \(O\)  and radius 25, is inscribed in the trapezoid \(PQRS\) whose parallel sides \(PQ\) and \(RS\) have lengths 80 and 45; find the distance from \(O\) to the midpoint of the segment \(QR\)",
            "circle",
        ),
        question(
            "other LaTeX",
            r"Every morning Aya goes for a 9-kilometer-long walk and stops at a coffee shop afterwards. When she walks at a constant speed of \(s\) kilometers per hour, the walk takes her 4 hours, including \(t\) minutes spent in the coffee shop. When she walks \(s + 2\) kilometers per hour, the walk takes her 2 hours and 24 minutes, including \(t\) minutes spent in the coffee shop. Find the number of minutes the walk takes her at \(s + \dfrac{1}{2}\) kilometers per hour.",
            "walk",
        ),
        question(
            "an instruction after it",
            "A warehouse stores 48 crates of lemons on 6 shelves, and each crate weighs 13 kilograms. A forklift may carry at most 100 kilograms at once. How many trips does the forklift need to empty the warehouse? Let's think step by step and put the final answer within \\boxed{}.",
            "boxes",
        ),
        question(
            "a story before it",
            "The following stood in a contest for schools last spring, and few solved it. A warehouse stores 48 crates of lemons on 6 shelves, and each crate weighs 13 kilograms. A forklift may carry at most 100 kilograms at once. How many trips does the forklift need to empty the warehouse?",
            "boxes",
        ),
        question(
            "a fifth of the words are others",
            "A depot stores 48 crates of lemons on 6 shelves, and every crate weighs 13 kilograms. A forklift may carry at most 100 kilograms per trip. How many trips does the machine need to empty the warehouse?",
            "boxes",
        ),
        question(
            "a clause left out",
            "Five years ago a shepherd was four times as old as his apprentice. What is the sum of the ages of the shepherd and the apprentice now?",
            "ages",
        ),
        question(
            "a short one in an instruction",
            r"Simplify $\frac{x^{2}-9}{x^{2}+7x+12}$ for all $x$ where it is defined. Please show your work.",
            "short",
        ),
        question("a tiny one alone", r"compute \(\sin 60^{\circ}\)", "tiny"),
        question(
            "Chinese with other marks",
            "小明和小红一起去书店买书。小明买了三本故事书,每本18元;小红买了两本字典,每本45元。请问他们一共花了多少钱?",
            "chinese",
        ),
        question(
            "choices after it",
            "Two uncoupled protons precess in a static magnetic field of 2.35 tesla while a weak oscillating field is applied at right angles. Which frequency does the oscillating field need for resonance? (A) 10 MHz (B) 100 MHz (C) 1 GHz (D) 60 Hz",
            "spin",
        ),
        question(
            "a generic phrase",
            "Ann is 3 years older than Bob. What is the sum of the ages of Ann and Bob now, if Bob is 8?",
            "",
        ),
        question(
            "the same formula, another question",
            r"Let $f(x) = \frac{x^2-9}{x^2+7x+12}$. How many vertical asymptotes does the graph of $f$ have?",
            "",
        ),
        question(
            "boilerplate",
            "Let's think step by step and put the final answer within \\boxed{}. What is the capital of France?",
            "",
        ),
        question(
            "a definition",
            "A circle is inscribed in a trapezoid when all four sides of the trapezoid are tangent to the circle. Prove that the sums of opposite sides are equal.",
            "",
        ),
        question(
            "the same unit twice",
            "A train travels at a constant speed of 80 kilometers per hour for 4 hours. How far does it travel?",
            "",
        ),
        question(
            "a tiny one within another",
            r"Compute $\sin 60^\circ$ and $\cos 60^\circ$, and then the area of an equilateral triangle of side 4.",
            "",
        ),
        question("the same topic", "Given a string of brackets, decide whether it is balanced.", ""),
        question("Chinese with the same ending", "一支铅笔3元，一块橡皮2元，买5支铅笔和4块橡皮，一共花了多少钱？", ""),
        question(
            "the same objects",
            "A forklift lifts a crate of lemons to a shelf at a height of 2 metres. How much work is done if the crate weighs 13 kilograms?",
            "",
        ),
        question("a short one with a term more", r"Simplify $\frac{x^2-9}{x^2+7x+12} + 1$.", ""),
        question("nothing", "", ""),
        variant(
            "all numbers are others",
            "A warehouse stores 36 crates of lemons on 4 shelves, and each crate weighs 17 kilograms. A forklift may carry at most 120 kilograms at once. How many trips does the forklift need to empty the warehouse?",
            "boxes",
        ),
        variant(
            "most numbers are others",
            r"A circle with center $O$ and radius 12 is inscribed in the trapezoid $PQRS$, whose parallel sides $PQ$ and $RS$ have lengths 36 and 45. Find the distance from $O$ to the midpoint of the segment $QR$.",
            "circle",
        ),
        variant(
            "decimals for whole numbers",
            r"A circle with center $O$ and radius 2.5 is inscribed in the trapezoid $PQRS$, whose parallel sides $PQ$ and $RS$ have lengths 8.0 and 4.5. Find the distance from $O$ to the midpoint of the segment $QR$.",
            "circle",
        ),
        variant(
            "another field",
            "Two uncoupled protons precess in a static magnetic field of 7.05 tesla while a weak oscillating field is applied at right angles. Which frequency does the oscillating field need for resonance?",
            "spin",
        ),
        variant(
            "a longer walk",
            r"Every morning Aya goes for a $12$-kilometer-long walk and stops at a coffee shop afterwards. When she walks at a constant speed of $s$ kilometers per hour, the walk takes her 5 hours, including $t$ minutes spent in the coffee shop. When she walks $s+3$ kilometers per hour, the walk takes her 3 hours and 36 minutes, including $t$ minutes spent in the coffee shop. Find the number of minutes the walk takes her at $s+\frac{3}{4}$ kilometers per hour.",
            "walk",
        ),
        variant(
            "Chinese, other prices",
            "小明和小红一起去书店买书，小明买了三本故事书，每本25元，小红买了两本字典，每本60元，他们一共花了多少钱？",
            "chinese",
        ),
        variant("another fraction", r"Simplify $\frac{x^2-4}{x^2+5x+6}$ for all $x$ where it is defined.", "short"),
        variant(
            "a big warehouse",
            "A warehouse stores 4,800 crates of lemons on 60 shelves, and each crate weighs 31 kilograms. A forklift may carry at most 1,000 kilograms at once. How many trips does the forklift need to empty the warehouse?",
            "boxes",
        ),
        variant(
            "with an instruction",
            "A warehouse stores 81 crates of lemons on 9 shelves, and each crate weighs 7 kilograms. A forklift may carry at most 50 kilograms at once. How many trips does the forklift need to empty the warehouse? Answer with a number.",
            "boxes",
        ),
        variant(
            "a small circle",
            r"A circle with center $O$ and radius 1 is inscribed in the trapezoid $PQRS$, whose parallel sides $PQ$ and $RS$ have lengths 3 and 2. Find the distance from $O$ to the midpoint of the segment $QR$.",
            "circle",
        ),
        variant(
            "another story",
            "A bakery sells 36 loaves of bread on 4 days, and each loaf costs 3 dollars. How many dollars does the bakery earn in all?",
            "",
        ),
        variant("a tiny one", r"Compute $\sin 45^\circ$.", ""),
        variant("an equation", "Solve $x^2 - 5x + 6 = 0$.", ""),
        variant("another fraction, another task", r"Find the limit of $\frac{x^2-4}{x^2+5x+6}$ as $x$ tends to 2.", ""),
        variant(
            "another circle",
            r"A circle of radius 4 touches both axes. Find the distance from its center to the line $3x + 4y = 50$.",
            "",
        ),
        variant("ages", "Tom is 30 and his son is 6. In how many years will Tom be three times as old as his son?", ""),
        variant("Chinese, another task", "小红有25本故事书，小明有60本，他们一共有多少本书？", ""),
        variant("speed", "A car drives 120 kilometers in 2 hours. How many kilometers does it drive in 5 hours?", ""),
        variant(
            "physics",
            "An electron moves at right angles to a magnetic field of 0.5 tesla at 300 metres per second. What force acts on it?",
            "",
        ),
        variant("numbers only", "12 34 56 78 90", ""),
        answer(
            "a similar problem recalled",
            "<think>This reminds me of a contest problem. A circle with center O and radius 25 is inscribed in the trapezoid PQRS, whose parallel sides PQ and RS have lengths 80 and 45. Find the distance from O to the midpoint of the segment QR. Let me solve that one first.</think> It is 25.",
            "circle",
        ),
        answer(
            "the question first",
            "A warehouse stores 48 crates of lemons on 6 shelves, and each crate weighs 13 kilograms. A forklift may carry at most 100 kilograms at once. How many trips does the forklift need to empty the warehouse?\n\nEach trip carries 7 crates, so 7 trips. \\boxed{7}",
            "boxes",
        ),
        answer(
            "in quotation marks",
            "I will take: \"Five years ago a shepherd was four times as old as his apprentice. What is the sum of the ages of the shepherd and the apprentice now, if in seven years the apprentice will be half as old as the shepherd?\" Let a be his age.",
            "ages",
        ),
        answer(
            "at the end",
            "The method is general. So try it yourself: Two uncoupled protons precess in a static magnetic field of 2.35 tesla while a weak oscillating field is applied at right angles. Which frequency does the oscillating field need for resonance?",
            "spin",
        ),
        answer(
            "over two lines each",
            "Task:\n> Given a string of brackets, remove the fewest characters\n> so that the remaining string is balanced, and print the\n> lexicographically smallest of all balanced strings\n> that can be reached this way.\nWe try all subsets.",
            "code",
        ),
        answer(
            "Chinese",
            "我来举一个例子：小明和小红一起去书店买书，小明买了三本故事书，每本18元，小红买了两本字典，每本45元，他们一共花了多少钱？答案是144元。",
            "chinese",
        ),
        answer(
            "some words changed",
            "Here is one: A warehouse stores 48 crates of lemons on 6 long shelves, and each crate weighs 13 kilograms. The forklift may carry at most 100 kilograms at once. How many trips does it need to empty the warehouse?",
            "boxes",
        ),
        answer(
            "a short one",
            r"Take this: Simplify $\frac{x^2-9}{x^2+7x+12}$ for all $x$ where it is defined. We factor.",
            "short",
        ),
        answer(
            "emphasis",
            "**Problem.** *Five years ago* a shepherd was **four times** as old as his apprentice. What is the sum of the ages of the shepherd and the apprentice now, if in seven years the apprentice will be half as old as the shepherd?",
            "ages",
        ),
        answer(
            "in LaTeX",
            r"\begin{quote}A circle with center \(O\) and radius \(25\) is inscribed in the trapezoid \(PQRS\), whose parallel sides \(PQ\) and \(RS\) have lengths \(80\) and \(45\). Find the distance from \(O\) to the midpoint of the segment \(QR\).\end{quote}",
            "circle",
        ),
        answer(
            "the method alone",
            "Let O be the center of the circle. The distance from O to each side is the radius, so the height of the trapezoid is twice the radius. The midpoint of the segment lies on the midline.",
            "",
        ),
        answer(
            "the formula of a short one",
            r"We get $\frac{x^2-9}{x^2+7x+12} = \frac{(x-3)(x+3)}{(x+3)(x+4)}$, which is $\frac{x-3}{x+4}$.",
            "",
        ),
        answer("a tiny one", r"First compute $\sin 60^\circ$. It is $\frac{\sqrt3}{2}$.", ""),
        answer(
            "other numbers",
            "For example: A warehouse stores 36 crates of lemons on 4 shelves, and each crate weighs 17 kilograms. A forklift may carry at most 120 kilograms at once. How many trips does the forklift need to empty the warehouse?",
            "",
        ),
        answer(
            "units and phrases",
            "She walks at a constant speed, so the walk takes her 2 hours. The number of minutes is 120. The sum of the ages is 40.",
            "",
        ),
        answer(
            "brackets",
            "A string of brackets is balanced if every bracket is closed by one of its kind, in the right order. The remaining string is then empty.",
            "",
        ),
        answer(
            "resonance",
            "The oscillating field has to turn with the protons. At resonance its frequency is the Larmor frequency.",
            "",
        ),
        answer("Chinese words", "小明买了书，小红也买了书，所以他们一共花了很多钱。", ""),
        answer(
            "boilerplate",
            "Okay, let me think step by step. Wait, let me check that again. The final answer is \\boxed{12}.",
            "",
        ),
        answer("nothing", "", ""),
        text(
            "an explanation",
            "The gyromagnetic ratio of the proton multiplied by the static field gives the Larmor frequency, and dividing the angular frequency by two pi leaves one hundred megahertz for a field of 2.35 tesla. So (B).",
            "spin",
        ),
        text(
            "a program",
            "```python\ndef smallest(text):\n  best = None\n  for mask in range(1 << len(text)):\n    kept = [sign for at, sign in enumerate(text) if mask >> at & 1]\n    if balanced(kept) and better(kept, best):\n      best = kept\n  return ''.join(best)\n```",
            "code",
        ),
        text(
            "a part of it",
            "As we know, the gyromagnetic ratio of the proton multiplied by the static field gives the Larmor frequency, and dividing the angular frequency by two pi leaves the rest.",
            "spin",
        ),
        text("a formula by its name", "The Larmor frequency is the gyromagnetic ratio times the field.", ""),
        text(
            "another program",
            "def largest(text):\n    best = None\n    for sign in text:\n        if best is None or sign > best:\n            best = sign\n    return best",
            "",
        ),
        text("a short answer", "The answer is 204.", ""),
        text(
            "an explanation in capitals, set otherwise",
            r"THE GYROMAGNETIC RATIO of the proton, multiplied by the static field, gives the Larmor frequency; and dividing the angular frequency by two pi leaves one hundred megahertz for a field of $2.35$ tesla!",
            "spin",
        ),
        text(
            "an explanation after a long thought",
            "We look at the protons one by one and ask what turns them. A field that is weak cannot turn them unless it is in step. In short: the gyromagnetic ratio of the proton multiplied by the static field gives the Larmor frequency, and dividing the angular frequency by two pi leaves one hundred megahertz for a field of 2.35 tesla.",
            "spin",
        ),
        text(
            "most of a program, on one line",
            "best = None; for mask in range(1 << len(text)): kept = [sign for at, sign in enumerate(text) if mask >> at & 1]; if balanced(kept) and better(kept, best): best = kept",
            "code",
        ),
        text(
            "a program within prose",
            "I would write it so: def smallest(text): best = None; for mask in range(1 << len(text)): kept = [sign for at, sign in enumerate(text) if mask >> at & 1]; if balanced(kept) and better(kept, best): best = kept; return ''.join(best). It tries every subset.",
            "code",
        ),
        text(
            "an explanation with some words changed",
            "The gyromagnetic ratio of the proton multiplied by the constant field gives the Larmor frequency, and dividing the angular frequency by two pi gives one hundred megahertz for a field of 2.35 tesla.",
            "spin",
        ),
        text(
            "the same physics in other words",
            "Multiply how fast a proton turns in one tesla, 267 million radians a second, by 2.35, and take a sixth of it or so: about a hundred megahertz.",
            "",
        ),
        text(
            "the same question about an electron",
            "The electron turns 658 times as fast: its resonance in the same magnet lies at sixty-six gigahertz, in the microwaves.",
            "",
        ),
        text(
            "words of the explanation, scattered",
            "The static field keeps them aligned. The proton has spin one half. Its angular momentum is quantised. The frequency follows by dividing twice.",
            "",
        ),
        text(
            "a usual beginning of a program",
            "def solve(text):\n    best = None\n    for at, sign in enumerate(text):\n        if sign == '(':\n            best = at\n    return best",
            "",
        ),
        text(
            "a usual loop over subsets",
            "for mask in range(1 << n):\n    total = sum(value for bit, value in enumerate(values) if mask >> bit & 1)\n    if total == goal:\n        print(mask)",
            "",
        ),
        text("a number that is an answer", "It takes her 204 minutes, and 12 is the sum, so 25 is left.", ""),
        text("a letter that is an answer", r"So the answer is \boxed{x-3}, where it is defined.", ""),
    ]
}
