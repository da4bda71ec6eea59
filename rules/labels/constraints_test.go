package labels

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConstraints(t *testing.T) {
	labels := map[string]string{"env": "prod", "empty": "", "traefik.tags": "blue, eu-1"}
	f := func(text string, want bool) {
		t.Helper()
		holds, err := parseConstraints(text)
		require.NoError(t, err)
		require.Equal(t, want, holds(labels))
	}
	f("", true)
	f("Label(`env`, `prod`)", true)
	f("Label(`empty`, ``)", true)
	f("Label(`absent`, ``)", true)
	f("Label(`absent`, `x`)", false)
	f("!Label(`env`, `prod`) || Label(\"env\", \"prod\")", true)
	f("!(Label(`env`, `prod`) || Label(`env`, `test`))", false)
	f("LabelRegex(`env`, `^p`) && !LabelRegex(`absent`, `.+`)", true)
	f("LabelRegex(`absent`, `^(true)?$`)", true)
	f("Tag(`empty`) && Tag(`env=prod`)", true)
	f("Tag(`env`) || Tag(`absent`)", false)
	f("TagRegex(`^env=p`)", true)
	f("tag==blue", true)
	f("tag==red", false)
	f("tag!=red", true)
	f("tag == eu-*, tag!=blue", false)
	f("tag==*-1,tag==bl*", true)
}

func TestConstraints_Errors(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, err := parseConstraints(text)
		require.ErrorContains(t, err, want)
	}
	f("Lable(`a`, `b`)", `column 1: unknown function "Lable"; did you mean "Label"?`)
	f("Label(`a`)", "column 1: Label has 1 arguments; want 2")
	f("Tag(`a`, `b`)", "column 1: Tag has 2 arguments; want 1")
	f("TagRegex(`(`)", "column 10: error parsing regexp")
	f("Label(`a`, b)", "column 12: want a string")
	f("Label(`a`, 'b')", "column 12: want a string")
	f("Label(`a`, `b`) & Label(`a`, `b`)", "column 17: operator &; want && or ||")
	f("-Label(`a`, `b`)", "column 1: operator -; want !")
	f("LabelRegex(`a`, `(`)", "column 17: error parsing regexp")
	f("Label(`a`, `b`) &&", "expected operand")
	f("`a`", "column 1: want Label")
	f("a.b(`a`, `b`)", "column 1: want Label or LabelRegex")
	f("tags==blue", `"tags": only tag can be compared`)
	f("tag=blue", "want tag==value or tag!=value")
	f("tag==", "tag is compared with nothing")
	f("tag==\xff", "invalid UTF-8")
}
