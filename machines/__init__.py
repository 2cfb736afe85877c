"""What drives an engine and its model side by side, and judges."""

from machines.covering import begin_if_asked

begin_if_asked()  # nothing of the engine has been imported yet
