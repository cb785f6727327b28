"""Steer a model by hand in a browser: drag the arm, see the futures, beside what really happens.

drag.py      where the end effector is in the picture, and which actions move it
truth.py     what really happens: the simulator, or the recording
starts.py    what a session can start from, and its contact sheet
session.py   one person's tree of imagined moments: step, undo, branch, resample
sight.py     what a planner sees of a session: the truth while it obeys, else what is imagined
pursuit.py   a clicked goal, planned for a round and a step at a time
messages.py  what browser and server say to each other, bounded and checked
guards.py    who may connect, and how often they may speak
server.py    the page and the websocket; sessions take fair turns at one model
saving.py    a session as a GIF or an npz
page/        HTML, CSS and JavaScript, served as they are
"""
