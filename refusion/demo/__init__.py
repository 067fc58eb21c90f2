"""The Gradio demo; `python app.py --help` lists the flags."""
