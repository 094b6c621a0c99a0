from __future__ import annotations

import pytest

from cache.errors import UserError
from stages.teacher.judging.language import check_language, foreign_language

ENGLISH = (
    "A man hangs in the air above the lake, arms spread wide, having just left the wooden dock.",
    "A brown horse clears a white rail with its forelegs tucked and a rider leaning over its neck.",
    "The hammer, small, at the top right, is raised above a nail that stands half in the plank.",
    "Cattle stand in the shade of a single oak; nobody is near them and nothing moves.",
    "The seamstress guides blue fabric under the needle of an old Singer machine.",
    "The vehicle is a red truck, large, across the lower half of the picture.",
    "A geisha pours sake for guests.",
    "A karateka breaks a tile.",
    "The piñata swings above children.",
    "Spaghetti, ravioli and lasagne lie on plates.",
    "A gondolier poles his gondola in Venezia.",
    "A matador waves his muleta at a toro.",
    "A dim sum cart, a wok, and a chef with chopsticks.",
    "The agent is José, small, at the left.",
    "Man, woman and child at table.",
)
OTHERS = {
    "de": "Ein braunes Pferd setzt mit angezogenen Vorderbeinen über den weißen Zaun.",
    "es": "Un hombre salta desde el muelle al lago con los brazos abiertos.",
    "fr": "Un homme saute du ponton dans le lac, les bras écartés et les genoux pliés.",
    "it": "Due ragazzi inseguono un pallone sul campo fangoso.",
    "pt": "Um cavalo castanho salta a cerca branca com o cavaleiro inclinado para a frente.",
    "nl": "Twee jongens rennen achter een bal aan over het modderige veld.",
    "ru": "Двое мальчиков бегут за мячом по грязному полю.",
    "zh": "一匹棕色的马越过白色的栅栏,骑手向前倾身。",
    "ja": "男性が両腕を広げて桟橋から湖に飛び込んでいる。",
}
OF_NO_ONE_LANGUAGE = (
    "Zuobian de xiao gou yong yachi yao zhe yi gen shengzi.",
    "Liang ge nanhai zai nining de qiuchang shang zhuizhu yi ge qiu.",
    "Yí gè nánrén zhèng zài tiào yuè, bèijǐng shì hùwài de cǎodì.",
    "A man is jumping into the lake, 他张开双臂从码头跳下去,身后溅起了很多水花。",
    "The picture shows a woman. Die Frau am Herd hält eine Pfanne mit beiden Händen und kocht.",
    "In der Szene sieht man die Aktivität jumping, because a man springt über den Zaun.",
    "Мужчина прыгает: a man is jumping outdoors, потому что он оторвался от земли.",
)


@pytest.mark.parametrize("text", ENGLISH)
def test_english_is_english_whatever_words_it_borrows(text: str) -> None:
    assert foreign_language(text, "en") is None


@pytest.mark.parametrize(("code", "text"), OTHERS.items())
def test_another_language_is_told_and_named(code: str, text: str) -> None:
    assert foreign_language(text, "en") == code
    assert foreign_language(text, code) is None
    assert foreign_language(text, "") is None


@pytest.mark.parametrize("text", OF_NO_ONE_LANGUAGE)
def test_mixed_and_romanised_texts_are_not_english(text: str) -> None:
    assert foreign_language(text, "en") is not None


@pytest.mark.parametrize("text", ["", "Zwei Hunde.", "12 34", "OK"])
def test_a_text_too_short_to_tell_is_left_alone(text: str) -> None:
    assert foreign_language(text, "en") is None


def test_a_language_that_cannot_be_told_is_refused_with_those_that_can() -> None:
    with pytest.raises(
        UserError, match=r"teacher\.judge\.language 'xx': .*known are af, .*, zu; leave it empty"
    ):
        check_language("xx")
    for code in ("en", "zh", ""):
        check_language(code)
